//go:build !portable

package proc

import (
	"os"

	"github.com/shirou/gopsutil/v3/process"
	"golang.org/x/sys/windows"
)

// openHandle returns a handle on the process that has that pid. As long as that is open, no
// other process gets the pid.
func openHandle(pid uint32) Handle {
	h, _ := openProcess(pid)
	return h
}

// openProcess opens the process that has that pid, or had it and is still open elsewhere.
func openProcess(pid uint32) (Handle, error) {
	h, err := windows.OpenProcess(windows.SYNCHRONIZE|windows.PROCESS_QUERY_LIMITED_INFORMATION, false, pid)
	if err != nil {
		return NoHandle, os.NewSyscallError("OpenProcess", err)
	}
	// OpenProcess ignores the two lowest bits, which are 0 in every pid so far (Microsoft, "The
	// Old New Thing", 6 June 2008).
	got, err := windows.GetProcessId(h)
	if err == nil && got != pid {
		err = windows.ERROR_INVALID_PARAMETER
	}
	if err != nil {
		windows.CloseHandle(h)
		return NoHandle, err
	}
	return Handle(h), nil
}

// Exited says whether the process has exited. There are no zombies on Windows: a process that
// has exited and is still open somewhere (in its parent, say) is no more than its exit code.
func (h Handle) Exited() (exited, zombie bool) {
	if h == NoHandle {
		return false, false
	}
	event, err := windows.WaitForSingleObject(windows.Handle(h), 0)
	return err == nil && event == windows.WAIT_OBJECT_0, false
}

// Close lets go of the process.
func (h Handle) Close() {
	if h != NoHandle {
		windows.CloseHandle(windows.Handle(h))
	}
}

// exists reports whether there is a process. One that has exited is none, though it may be
// open somewhere.
func exists(pid int32) (exists, zombie bool, err error) {
	exists, err = process.PidExists(pid)
	return exists, false, err
}

// startOf returns when p started, in ms since the epoch. gopsutil asks for more rights than
// that takes, which one does not have on an elevated process of one's own.
func startOf(p *process.Process) (int64, error) {
	h, err := openProcess(uint32(p.Pid))
	if err != nil {
		return 0, err
	}
	defer h.Close()
	var created, exited, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(windows.Handle(h), &created, &exited, &kernel, &user); err != nil {
		return 0, os.NewSyscallError("GetProcessTimes", err)
	}
	return created.Nanoseconds() / 1e6, nil
}

// programOf returns the path of the program that p runs. As in startOf, it asks for no more
// rights than that takes.
func programOf(p *process.Process) (string, error) {
	h, err := openProcess(uint32(p.Pid))
	if err != nil {
		return "", err
	}
	defer h.Close()
	path := make([]uint16, windows.MAX_LONG_PATH)
	size := uint32(len(path))
	if err := windows.QueryFullProcessImageName(windows.Handle(h), 0, &path[0], &size); err != nil {
		return "", os.NewSyscallError("QueryFullProcessImageName", err)
	}
	return windows.UTF16ToString(path[:size]), nil
}

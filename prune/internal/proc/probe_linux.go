//go:build !portable

package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"runtimegc/registry/daemondir"

	"github.com/shirou/gopsutil/v3/process"
	"golang.org/x/sys/unix"
)

// inspect opens the pidfd first, which pins the identity: if it says "alive" when all else
// is known, all else was of this process. There may be none to be had: before Linux 5.3,
// under a seccomp filter, out of descriptors.
func inspect(pid uint32, q Query) (Facts, Handle) {
	fd, err := daemondir.IgnoringEINTR(func() (int, error) { return unix.PidfdOpen(int(pid), 0) })
	switch {
	case err == nil:
		h := Handle(fd)
		f := Facts{Exists: true}
		f.describe(pid, q)
		f.Foreign = f.Exe == ExeUnknown && !f.Settled && q.foreign(pid, h)
		if exited, zombie := h.Exited(); exited {
			f = Facts{Exists: zombie, Zombie: zombie}
		}
		return f, h
	case err == unix.ESRCH:
		return absent(pid), NoHandle
	case err == unix.EINVAL || err == unix.ENOENT:
		// pidfd_open(2): not a thread-group leader (ENOENT since Linux 6.15).
		return Facts{Exists: true, Thread: true}, NoHandle
	default:
		return inspectByNumber(pid, q), NoHandle
	}
}

// inspectByNumber is inspect without a pidfd.
func inspectByNumber(pid uint32, q Query) Facts {
	switch err := unix.Kill(int(pid), 0); err {
	case nil, unix.EPERM:
	case unix.ESRCH:
		return absent(pid)
	default:
		return Facts{Err: fmt.Errorf("probing pid %d: %w", pid, err)}
	}
	f := Facts{Exists: true}
	p := &process.Process{Pid: int32(pid)}
	tgid, err := p.Tgid()
	if err != nil {
		// Gone in between, hidden by hidepid, or no /proc.
		f.Err = fmt.Errorf("reading status of pid %d: %w", pid, err)
		return f
	}
	status, err := p.Status()
	if err != nil {
		f.Err = fmt.Errorf("reading status of pid %d: %w", pid, err)
		return f
	}
	f.Thread = tgid != int32(pid)
	if len(status) > 0 && status[0] == process.Zombie {
		// The first thread of a process may be a zombie while others run on.
		threads, err := p.NumThreads()
		if err != nil {
			f.Err = fmt.Errorf("pid %d: its first thread has exited, others may run: %w", pid, err)
			return f
		}
		if f.Zombie = threads <= 1; f.Zombie {
			return f
		}
	}
	f.describe(pid, q)
	f.Foreign = f.Exe == ExeUnknown && !f.Settled && q.foreign(pid, NoHandle)
	return f
}

// foreign reports whether the effective user of a process is known, and is another than the
// owner of the directory. Under hidepid=2 only its pidfd knows (PIDFD_GET_INFO, Linux 6.13).
func (q Query) foreign(pid uint32, h Handle) bool {
	var dir unix.Stat_t
	if unix.Lstat(q.Dir, &dir) != nil {
		return false
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_CREDS}
	if h != NoHandle && unix.IoctlPidfdInfo(int(h), &info) == nil && info.Mask&unix.PIDFD_INFO_CREDS != 0 {
		return info.Euid != dir.Uid
	}
	uids, err := (&process.Process{Pid: int32(pid)}).Uids() // real, effective, saved, file system
	return err == nil && len(uids) > 1 && uint32(uids[1]) != dir.Uid
}

// absent is what is known of a pid that the kernel does not: it has no process, unless
// gopsutil is configured to read another machine's /proc (a container with the host's
// mounted), where it may have one.
func absent(pid uint32) Facts {
	proc, foreign := foreignProc()
	if !foreign {
		return Facts{}
	}
	if _, err := os.Stat(filepath.Join(proc, strconv.Itoa(int(pid)))); errors.Is(err, fs.ErrNotExist) {
		return Facts{}
	}
	return Facts{Err: fmt.Errorf("pid %d is in HOST_PROC %q, but not in this pid namespace", pid, proc)}
}

// foreignProc returns the /proc that gopsutil is configured to read instead of this one.
func foreignProc() (string, bool) {
	proc := os.Getenv("HOST_PROC")
	return proc, proc != "" && filepath.Clean(proc) != "/proc"
}

// ticksPerSecond is USER_HZ, the unit of times in /proc/<pid>/stat: 100 on every
// architecture that Go runs on.
const ticksPerSecond = 100

// startOf returns when p started, in ms since the epoch: the time since boot that
// proc_pid_stat(5) gives as its 22nd field, on the wall clock as it is set now. gopsutil
// makes 20 system calls of it and truncates it to whole seconds; of another machine's
// /proc, with an uptime of its own, only it can tell.
func startOf(p *process.Process) (int64, error) {
	if _, foreign := foreignProc(); foreign {
		return p.CreateTime()
	}
	path := "/proc/" + strconv.Itoa(int(p.Pid)) + "/stat"
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var buf [1024]byte // of 52 numbers, and a name of at most 64 bytes
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return 0, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	ticks, err := statField(buf[:n], 22)
	if err != nil {
		return 0, fmt.Errorf("reading %q: %w", path, err)
	}
	booted, ok := wallOffset()
	if !ok {
		return 0, errors.New("the time since boot cannot be read")
	}
	return booted.Milliseconds() + ticks*1000/ticksPerSecond, nil
}

// statField returns a number of a /proc/<pid>/stat, whose fields proc_pid_stat(5) counts from
// 1. The second is the process's name in brackets, and may hold anything.
func statField(stat []byte, field int) (int64, error) {
	n := 2
	for word := range bytes.FieldsSeq(stat[bytes.LastIndexByte(stat, ')')+1:]) {
		if n++; n == field {
			return strconv.ParseInt(string(word), 10, 64)
		}
	}
	return 0, fmt.Errorf("no field %d among %d", field, n)
}

// whereabouts says where the program of p lies, and whether an emulator or a loader runs
// one that does, whatever the path of the directory is for p.
func (q Query) whereabouts(p *process.Process) (Whereabouts, error) {
	dir := processDir(p.Pid)
	exe, err := os.Readlink(dir + "/exe")
	if errors.Is(err, fs.ErrNotExist) {
		// A kernel thread runs no executable (proc_pid_exe(5)): after a reboot those have the
		// pids that early daemons had. A process has none when its first thread has exited.
		var threads []string
		if threads, err = leaderless(dir); err == nil {
			if len(threads) == 0 {
				return ExeElsewhere, nil
			}
			dir = threads[0]
			exe, err = os.Readlink(dir + "/exe")
		}
	}
	if errors.Is(err, fs.ErrPermission) {
		if kernel, err := kernelThread(dir); err == nil && kernel {
			return ExeElsewhere, nil
		}
	}
	if err != nil {
		return ExeUnknown, err
	}
	place, err := q.placeOf(dir)
	if err != nil {
		if strings.HasPrefix(exe, q.Dir+"/") {
			return ExeInside, nil
		}
		return ExeUnknown, err
	}
	if _, inside := place.find(exe); inside {
		return ExeInside, nil
	}
	mapped, err := mappings(dir)
	for _, path := range mapped {
		if _, inside := place.find(path); inside {
			return ExeInside, nil
		}
	}
	if err != nil {
		return ExeUnknown, err
	}
	return ExeElsewhere, nil
}

// placeOf returns the view of the directory from a process.
func (q Query) placeOf(process string) (*view, error) {
	root, err := filepath.EvalSymlinks(filepath.Dir(q.Dir))
	if err != nil {
		return nil, err
	}
	t, err := treeOf(filepath.Join(root, filepath.Base(q.Dir)))
	if err != nil {
		return nil, err
	}
	return newViews(t).of(process)
}

// Exited says whether the process has exited with all its threads, waited for or not
// (pidfd_open(2): it then polls readable; 0.6 us), and whether it is a zombie: yet to be
// waited for, so that signals still reach it (pidfd_send_signal(2)).
func (h Handle) Exited() (exited, zombie bool) {
	fds := []unix.PollFd{{Fd: int32(h), Events: unix.POLLIN}}
	n, err := daemondir.IgnoringEINTR(func() (int, error) { return unix.Poll(fds, 0) })
	if err != nil || n != 1 || fds[0].Revents&unix.POLLIN == 0 {
		return false, false
	}
	return true, unix.PidfdSendSignal(int(h), 0, nil, 0) != unix.ESRCH
}

// Close lets go of the process.
func (h Handle) Close() {
	if h != NoHandle {
		unix.Close(int(h))
	}
}

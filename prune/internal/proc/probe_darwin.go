//go:build !portable

package proc

import (
	"bytes"
	"fmt"
	"io/fs"
	"unsafe"

	"github.com/shirou/gopsutil/v3/process"
	"golang.org/x/sys/unix"
)

// gopsutil starts ps(1) and lsof(8) for the state and the program of a process, unless it is
// built with cgo. The kernel tells both.

// zombieState is SZOMB of <sys/proc.h>.
const zombieState = 5

// kernelProcess returns what the kernel knows of a pid, zombies included; nil: there is none.
func kernelProcess(pid int32) (*unix.KinfoProc, error) {
	found, err := unix.SysctlKinfoProcSlice("kern.proc.pid", int(pid))
	switch {
	case err == unix.ESRCH:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("sysctl kern.proc.pid: %w", err)
	}
	for i := range found {
		if found[i].Proc.P_pid == pid {
			return &found[i], nil
		}
	}
	return nil, nil
}

// exists reports whether there is a process, and whether it has exited and was not waited for.
func exists(pid int32) (exists, zombie bool, err error) {
	k, err := kernelProcess(pid)
	if err != nil || k == nil {
		return false, false, err
	}
	return true, k.Proc.P_stat == zombieState, nil
}

// startOf returns when p started, in ms since the epoch.
func startOf(p *process.Process) (int64, error) {
	k, err := kernelProcess(p.Pid)
	switch {
	case err != nil:
		return 0, err
	case k == nil:
		return 0, fs.ErrNotExist
	}
	start := k.Proc.P_starttime
	return start.Sec*1000 + int64(start.Usec)/1000, nil
}

// userOf returns the effective user of a process.
func userOf(pid int32) (uint32, error) {
	k, err := kernelProcess(pid)
	switch {
	case err != nil:
		return 0, err
	case k == nil:
		return 0, fs.ErrNotExist
	}
	return k.Eproc.Ucred.Uid, nil
}

// Of <sys/proc_info.h>: the call that libproc's proc_pidpath makes.
const (
	procInfoCallPIDInfo  = 2
	procPIDPathInfo      = 11
	procPIDPathInfoLimit = 4 * unix.PathMax
)

// programOf returns the path of the program that p runs, whoever its user is. It is where the
// file lies now.
func programOf(p *process.Process) (string, error) {
	var path [procPIDPathInfoLimit]byte
	_, _, errno := unix.Syscall6(unix.SYS_PROC_INFO, procInfoCallPIDInfo, uintptr(p.Pid), procPIDPathInfo, 0,
		uintptr(unsafe.Pointer(&path[0])), uintptr(len(path)))
	if errno != 0 {
		return "", fmt.Errorf("proc_pidpath: %w", errno)
	}
	end := bytes.IndexByte(path[:], 0)
	if end <= 0 || path[0] != '/' {
		return "", fmt.Errorf("proc_pidpath: %w", fs.ErrNotExist)
	}
	return string(path[:end]), nil
}

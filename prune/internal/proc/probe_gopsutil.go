//go:build portable || !(linux || darwin || windows)

package proc

import (
	"runtime"

	"github.com/shirou/gopsutil/v3/process"
)

// exists reports whether there is a process, and whether it has exited and was not waited for.
func exists(pid int32) (exists, zombie bool, err error) {
	exists, err = process.PidExists(pid)
	if err != nil || !exists {
		return false, false, err
	}
	p := &process.Process{Pid: pid}
	status, err := p.Status()
	if err != nil || len(status) == 0 || status[0] != process.Zombie {
		return true, false, nil
	}
	if runtime.GOOS != "linux" {
		return true, true, nil
	}
	// There it is the state of the first thread, and others may run on.
	threads, err := p.NumThreads()
	return true, err == nil && threads <= 1, err
}

// startOf returns when p started, in ms since the epoch.
func startOf(p *process.Process) (int64, error) { return p.CreateTime() }

// programOf returns the path of the program that p runs.
func programOf(p *process.Process) (string, error) { return p.Exe() }

//go:build portable || !(linux || darwin || windows)

package proc

import "github.com/shirou/gopsutil/v3/process"

// exists reports whether there is a process, and whether it has exited and was not waited for.
func exists(pid int32) (exists, zombie bool, err error) {
	exists, err = process.PidExists(pid)
	if err != nil || !exists {
		return false, false, err
	}
	status, err := (&process.Process{Pid: pid}).Status()
	return true, err == nil && len(status) > 0 && status[0] == process.Zombie, nil
}

// startOf returns when p started, in ms since the epoch.
func startOf(p *process.Process) (int64, error) { return p.CreateTime() }

// programOf returns the path of the program that p runs.
func programOf(p *process.Process) (string, error) { return p.Exe() }

//go:build !linux || portable

package prune

import (
	"fmt"

	"runtimegc/registry/daemondir"

	"github.com/shirou/gopsutil/v3/process"
)

// inspect gathers the facts about pid. There is no pidfd here, so a pid that is reused
// between two of the questions is told by its start time only.
func inspect(pid uint32, settles func(daemondir.Timestamp) bool, locate func(exe string) whereabouts) (facts, int) {
	exists, err := process.PidExists(int32(pid))
	if err != nil {
		return facts{err: fmt.Errorf("probing pid %d: %w", pid, err)}, -1
	}
	f := facts{exists: exists}
	if !exists {
		return f, -1
	}
	status, err := (&process.Process{Pid: int32(pid)}).Status()
	if err == nil && len(status) > 0 && status[0] == process.Zombie {
		f.zombie = true
		return f, -1
	}
	f.describe(pid, settles, locate)
	if exists, err := process.PidExists(int32(pid)); err == nil && !exists {
		return facts{}, -1
	}
	return f, -1
}

// startOf returns when p started, in ms since the epoch.
func startOf(p *process.Process) (int64, error) { return p.CreateTime() }

// over is for pidfds, and there are none.
func (h *held) over() (Liveness, bool) { return Liveness{}, false }

func (h *held) release() {}

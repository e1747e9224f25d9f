//go:build !linux || portable

package proc

import (
	"fmt"
	"path/filepath"

	"github.com/shirou/gopsutil/v3/process"
)

// inspect has no pidfd here, so a pid that is reused between two of the questions is
// recognised by its start time only.
func inspect(pid uint32, q Query) (Facts, Handle) {
	exists, err := process.PidExists(int32(pid))
	if err != nil {
		return Facts{Err: fmt.Errorf("probing pid %d: %w", pid, err)}, NoHandle
	}
	f := Facts{Exists: exists}
	if !exists {
		return f, NoHandle
	}
	status, err := (&process.Process{Pid: int32(pid)}).Status()
	if err == nil && len(status) > 0 && status[0] == process.Zombie {
		f.Zombie = true
		return f, NoHandle
	}
	f.describe(pid, q)
	if exists, err := process.PidExists(int32(pid)); err == nil && !exists {
		return Facts{}, NoHandle
	}
	return f, NoHandle
}

// whereabouts says where the program of p lies.
func (q Query) whereabouts(p *process.Process) (Whereabouts, error) {
	exe, err := p.Exe()
	if err != nil {
		return ExeUnknown, err
	}
	return q.locate(exe), nil
}

// locate says where exe lies with respect to the directory.
func (q Query) locate(exe string) Whereabouts {
	p := make(places)
	if p.below(exe, q.Dir, q.ID) != "" {
		return ExeInside
	}
	if _, err := p.identify(filepath.Dir(exe)); err != nil {
		return ExeUnknown
	}
	return ExeElsewhere
}

// startOf returns when p started, in ms since the epoch.
func startOf(p *process.Process) (int64, error) { return p.CreateTime() }

// Exited is for handles, and there are none.
func (Handle) Exited() (exited, zombie bool) { return false, false }

// Close has nothing to let go of.
func (Handle) Close() {}

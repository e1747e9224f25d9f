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
	is, zombie, err := exists(int32(pid))
	if err != nil {
		return Facts{Err: fmt.Errorf("probing pid %d: %w", pid, err)}, NoHandle
	}
	f := Facts{Exists: is, Zombie: zombie}
	if !is || zombie {
		return f, NoHandle
	}
	f.describe(pid, q)
	f.Foreign = f.Exe == ExeUnknown && !f.Settled && q.foreign(int32(pid))
	if is, _, err := exists(int32(pid)); err == nil && !is {
		return Facts{}, NoHandle
	}
	return f, NoHandle
}

// whereabouts says where the program of p lies.
func (q Query) whereabouts(p *process.Process) (Whereabouts, error) {
	exe, err := programOf(p)
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

// Exited is for handles, and there are none.
func (Handle) Exited() (exited, zombie bool) { return false, false }

// Close has nothing to let go of.
func (Handle) Close() {}

//go:build !linux || portable

package proc

import (
	"fmt"
	"path/filepath"

	"github.com/shirou/gopsutil/v3/process"
)

// inspect opens the handle first, where there are any: if it says "alive" when all else is
// known, all else was of this process. Without one, a pid that is reused between two of the
// questions is recognised by its start time only.
func inspect(pid uint32, q Query) (Facts, Handle) {
	h := openHandle(pid)
	f := inspectByNumber(pid, q)
	if exited, _ := h.Exited(); exited && !f.Zombie {
		f = Facts{}
	}
	return f, h
}

// inspectByNumber is inspect without a handle.
func inspectByNumber(pid uint32, q Query) Facts {
	is, zombie, err := exists(int32(pid))
	if err != nil {
		return Facts{Err: fmt.Errorf("probing pid %d: %w", pid, err)}
	}
	f := Facts{Exists: is, Zombie: zombie}
	if !is || zombie {
		return f
	}
	f.describe(pid, q)
	f.Foreign = f.Exe == ExeUnknown && !f.Settled && q.foreign(int32(pid))
	if is, _, err := exists(int32(pid)); err == nil && !is {
		return Facts{}
	}
	return f
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

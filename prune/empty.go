package prune

// The last step of a removal: what is done to a dir that nobody can find any more.

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir"
)

// removeTree removes the quarantined dir hidden, which is that of a. Its sidecar goes last:
// so a leftover of an interrupted removal can be judged again, or is empty.
func (m *remover) removeTree(a *attempt, hidden string) removal {
	var done removal
	err := m.empty(a, hidden, &done.Freed)
	if err == nil {
		a.letGo()
		err = m.rmdir(hidden)
		switch {
		case fsys.Gone(err):
			err = fsys.ErrReplaced
		case errors.Is(err, fs.ErrExist): // it is not empty
			if open, other, _ := m.root.Left(hidden); open && !other {
				err = fsys.ErrStillOpen
			}
		}
	}
	var off calledOff
	switch {
	case errors.As(err, &off):
		off.putBack = true
		return off.removal
	case errors.Is(err, fsys.ErrStillOpen), fsys.Busy(err):
		done.kept = InUse
		return done
	case err != nil:
		done.kept = reasonOf(err)
		done.err = fmt.Errorf("removing %q: %w", m.root.Path(hidden), err)
		return done
	}
	done.Files++
	return done
}

// calledOff is the error of a removal that ends before the sidecar goes: somebody has come, and finds
// the dir where it was.
type calledOff struct{ removal }

func (c calledOff) Error() string { return "called off: " + string(c.kept) }

// removeTrampoline removes the trampoline of the quarantined dir hidden, of which t is the tree.
// It is a link to a binary that all daemons share, and Windows may refuse to remove it while any
// of them runs. So it goes first: if it does not, the dir is still complete, and is put back.
func (m *remover) removeTrampoline(t *fsys.Tree, hidden string, freed *fsys.Freed) error {
	name := strings.TrimPrefix(hidden, daemondir.QuarantinePrefix)
	for _, file := range []string{name, name + ".exe"} {
		if !t.IsFile(file) {
			continue
		}
		if err := t.Remove(file, freed); fsys.Busy(err) || errors.Is(err, fs.ErrPermission) {
			return calledOff{removal{kept: InUse, details: "its program runs"}}
		} else if err != nil {
			return err
		}
		m.step("removed", file)
	}
	return nil
}

// empty removes all that is in the quarantined dir hidden, which is that of a. A spawner that
// found the sidecar before the dir was renamed may come to the lease only now, if it was not
// given a processor in between: it gets its dir back, without what the last daemon left there.
func (m *remover) empty(a *attempt, hidden string, freed *fsys.Freed) error {
	t, err := m.root.OpenTree(a.d, hidden)
	if err != nil {
		return err
	}
	defer t.Close()
	sidecar := daemondir.SidecarName(hidden)
	if a.noSidecar() {
		sidecar = "" // what has its name may be a directory
	}
	if !fsys.HasLeases {
		if err := m.removeTrampoline(t, hidden, freed); err != nil {
			return err
		}
	}
	if err := t.Empty(sidecar, freed, func(name string) { m.step("removed", name) }); err != nil {
		return err
	}
	if sidecar == "" {
		return nil
	}
	if a.leased && !fsys.LeaseHeld(a.sidecar) {
		return calledOff{a.leaseBroken()}
	}
	// Without leases, or by a collector without them; one that is gone was not written.
	if now := m.root.SidecarStamp(hidden); now != (daemondir.Stamp{}) && (now != a.e.Sidecar || !a.sameText()) {
		return calledOff{keep(Respawned)}
	}
	// It must not be open when it is removed: on FUSE and NFS it would only be hidden, and its
	// directory not be empty.
	a.closeSidecar()
	err = t.Remove(sidecar, freed)
	m.step("removed sidecar")
	return err
}

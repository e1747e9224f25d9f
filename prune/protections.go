package prune

// The checks before a removal.

import (
	"errors"
	"fmt"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir"
)

// A finding is what came of one check of an attempt.
type finding struct {
	kept         Reason // empty: nothing against a removal
	err          error  // what the system refused, if it did; kept says how that counts
	details      string // what was found, if there is more to say than the reason
	undetermined error  // why a dry run cannot tell; a removal finds out
}

// protections are the checks before a removal, in this order; the first that finds a
// reason to keep the dir ends it. [Collector.Explain] makes all of them.
var protections = [...]struct {
	check Check
	make  func(*remover, *attempt) finding
}{
	{CheckShape, (*remover).checkShape},
	{CheckMounts, (*remover).checkMounts},
	{CheckLock, (*remover).checkLock},
	{CheckUsers, (*remover).checkUsers},
	{CheckLastLook, (*remover).checkLastLook},
}

// checkShape opens the dir: a real directory directly in the root, the one that was
// judged, on the root's device.
func (m *remover) checkShape(a *attempt) finding {
	d, err := m.root.Open(a.e.Name)
	if err != nil {
		return refusal(err)
	}
	a.d = d
	switch {
	case d.ID() != a.e.Dir:
		return finding{kept: Changed}
	case !m.root.SameDevice(d.ID()):
		return finding{kept: MountPoint, details: "it is on another device than the root"}
	}
	return finding{}
}

// refusal is the finding of a check that the system refused.
func refusal(err error) finding {
	r := fail(err)
	return finding{kept: r.kept, err: r.err}
}

func (m *remover) checkMounts(a *attempt) finding {
	reason, err := m.mounted(a.e.Name)
	return finding{kept: reason, err: err}
}

// mounted returns MountPoint if something is mounted in the dir name.
func (m *remover) mounted(name string) (Reason, error) {
	switch mounted, err := m.root.Mounted(name); {
	case err != nil:
		return Failed, err
	case mounted:
		return MountPoint, nil
	}
	return "", nil
}

// checkLock asks whether somebody holds a flock(2) on the dir: a manager protects it by
// LOCK_SH. The removal takes LOCK_EX itself, so that nobody can lock the dir from here
// on. A dry run must not: for that moment it would have a collector keep the dir, and
// a manager that does not wait miss its lock; and LOCK_SH, which would disturb less,
// is had beside the very locks that are looked for. It reads the kernel's table.
func (m *remover) checkLock(a *attempt) finding {
	if m.dryRun {
		if m.locksErr != nil {
			return finding{undetermined: m.locksErr}
		}
		if pid, held := m.locks[a.e.Dir.Ino]; held {
			return finding{kept: Locked, details: fmt.Sprintf("pid %s holds a lock on it", pid)}
		}
		return finding{}
	}
	unlock, err := m.root.Lock(a.d, a.e.Name)
	switch {
	case errors.Is(err, fsys.ErrLocked):
		return finding{kept: Locked}
	case err != nil:
		return refusal(err)
	}
	a.unlock = unlock
	return finding{}
}

func (m *remover) checkUsers(a *attempt) finding {
	if use, used := m.users.Of(a.e.Name); used {
		return finding{kept: InUse, details: use.String()}
	}
	if m.users.Sockets() {
		files, err := m.root.Sockets(a.e.Name)
		if err != nil {
			return refusal(err)
		}
		for _, ino := range files {
			if use, used := m.users.OfSocket(ino); used {
				return finding{kept: InUse, details: use.String()}
			}
		}
	}
	switch n := m.users.Unreadable; {
	case n == 1:
		return finding{details: "none found; 1 process of another user could not be inspected"}
	case n > 1:
		return finding{details: fmt.Sprintf("none found; %d processes of other users could not be inspected", n)}
	}
	return finding{}
}

// checkLastLook opens the sidecar and, but for a dry run, takes the lease: under it nobody
// rewrites the sidecar. Then it reads all again, probes again, and judges again.
func (m *remover) checkLastLook(a *attempt) finding {
	var err error
	a.sidecar, err = a.d.OpenSidecar(daemondir.ReadOnly)
	switch {
	case errors.Is(err, daemondir.ErrBusy):
		return finding{kept: InUse, details: "its sidecar is being written"}
	case err != nil:
		return refusal(err)
	}
	if !m.dryRun {
		switch fsys.TakeLease(a.sidecar) {
		case nil:
			a.leased = true
		case fsys.ErrOpenElsewhere:
			return finding{kept: InUse, details: "its sidecar is open elsewhere"}
		}
	}
	return finding{kept: m.lastLook(a.d, a.sidecar, a.e)}
}

// lastLook reads and judges e once more and returns why it must stay.
func (m *remover) lastLook(d *daemondir.Dir, sidecar *daemondir.File, e daemondir.Entry) Reason {
	fresh, err := d.ReadFrom(sidecar)
	if err != nil || fresh != e {
		if err == nil && (fresh.PID != e.PID || fresh.SpawnedAt != e.SpawnedAt) {
			return Respawned
		}
		return Changed
	}
	p := m.probe(fresh, fresh.PID, m.root.Path(e.Name))
	defer p.close()
	if v := Judge(fresh, p.Liveness, m.now(), m.staleAfter, m.protectedBy(fresh) != ""); v.Decision != Remove {
		if v.State == Alive {
			return Respawned
		}
		return v.Reason
	}
	return ""
}

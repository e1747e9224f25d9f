package prune

// Removal: decide last, on the spot. The steps and their order are the protection;
// the comments say against what.

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"runtimegc/prune/internal/fsys"
	"runtimegc/prune/internal/proc"
	"runtimegc/registry/daemondir"
)

// A remover removes daemon dirs of one root during one pass. Make it with newRemover and
// close it.
type remover struct {
	root  *fsys.Root
	users proc.Users
	prober

	staleAfter  time.Duration
	dryRun      bool
	protectedBy func(daemondir.Entry) string

	locks    map[uint64]string // of a dry run: who holds a lock on which inode
	locksErr error             // why there are none

	reached func(step string) // called, if not nil, after each step: the tests are killed there
}

func (m *remover) step(words ...string) {
	if m.reached != nil {
		m.reached(strings.Join(words, " "))
	}
}

// newRemover takes what the removals of one pass have in common: the root, and who uses
// what in it.
func (c *Collector) newRemover(staleAfter time.Duration, dryRun bool) (*remover, error) {
	root, err := fsys.OpenRoot(c.root)
	if err != nil {
		return nil, err
	}
	m := &remover{root: root, prober: c.prober, staleAfter: staleAfter, dryRun: dryRun, protectedBy: c.protectedBy}
	if m.users, err = proc.FindUsers(root.RealPath()); err != nil {
		root.Close()
		return nil, err
	}
	if dryRun {
		m.locks, m.locksErr = root.Locks()
	}
	return m, nil
}

func (m *remover) close() { m.root.Close() }

// A removal is what became of one attempt.
type removal struct {
	kept       Reason // empty: it was removed, or would be in a dry run
	err        error  // what the system refused; kept says how that counts
	fsys.Freed        // what was removed, the daemon dir included

	hidden string // the quarantined name it was left under, if so
}

func keep(reason Reason) removal { return removal{kept: reason} }

func fail(err error) removal {
	if fsys.Gone(err) {
		return keep(Gone)
	}
	return removal{kept: reasonOf(err), err: err}
}

// reasonOf returns the reason of an error.
func reasonOf(err error) Reason {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return Permission
	case errors.Is(err, fsys.ErrReplaced):
		return Changed
	case errors.Is(err, fsys.ErrMounted):
		return MountPoint
	case errors.Is(err, fsys.ErrLowerLayer):
		return LowerLayer
	}
	return Failed
}

// An attempt is one daemon dir on its way to removal, as far as it has been opened.
type attempt struct {
	e       daemondir.Entry
	d       *daemondir.Dir
	unlock  func()
	sidecar *daemondir.File
	leased  bool
}

func (a *attempt) close() {
	a.closeSidecar()
	if a.unlock != nil {
		a.unlock()
	}
	if a.d != nil {
		a.d.Close()
	}
}

// closeSidecar closes the sidecar, and with it ends its lease.
func (a *attempt) closeSidecar() {
	if a.sidecar != nil {
		a.sidecar.Close()
		a.sidecar = nil
	}
}

// remove removes the daemon dir e if it still is what e says, nobody uses it, and the
// judge, asked again, still says so.
func (m *remover) remove(e daemondir.Entry) removal {
	a := &attempt{e: e}
	defer a.close()
	// 1. Shape and mounts. 2. Nothing uses it. 3. The last look, under the lease.
	for _, p := range protections {
		if f := p.make(m, a); f.kept != "" {
			return removal{kept: f.kept, err: f.err}
		}
	}
	if m.dryRun {
		return removal{}
	}
	m.step("judged")

	// 4. Out of sight, and look whether somebody was on the way in.
	hidden := e.Name
	if !daemondir.Quarantined(e.Name) {
		hidden = daemondir.QuarantinePrefix + e.Name
		if err := m.root.Rename(e.Name, hidden); err != nil {
			return fail(err)
		}
		m.step("renamed")
	}
	if reason := m.recheckRenamed(a.d, a.sidecar, a.leased, e, hidden); reason != "" {
		return m.restore(hidden, reason)
	}
	// The lease has done its work: whoever comes to the sidecar from here on comes too late,
	// whether he must wait or not. And it must not be open when it is removed: on FUSE and
	// NFS it would only be hidden, and its directory not be empty.
	a.closeSidecar()
	m.step("looked")

	// 5. Nobody can find it any more.
	r := m.removeTree(a.d, hidden)
	if r.kept != "" {
		r.hidden = hidden
	}
	return r
}

// recheckRenamed looks once more at a dir that has been renamed to hidden, through the
// descriptors that were opened before, and returns why it must go back. A spawner that
// resolved the sidecar's path before the rename is waiting for the lease now, and one
// that got past the sidecar has changed the pid file.
func (m *remover) recheckRenamed(d *daemondir.Dir, sidecar *daemondir.File, leased bool, e daemondir.Entry, hidden string) Reason {
	if d.Marked() {
		return Protected // since the last look; whoever did it was told that it stays
	}
	if leased {
		// Nobody has come to the sidecar, then.
		if !fsys.LeaseHeld(sidecar) || daemondir.PIDStamp(m.root.Path("."), hidden) != e.PIDFile {
			return Respawned
		}
	} else if again, err := d.ReadFrom(sidecar); err != nil || again != e {
		return Respawned
	}
	// A collector that has no leases replaces the file that it refreshes. That does not break
	// ours, which is on the old one.
	if daemondir.SidecarStamp(m.root.Path("."), hidden) != e.Sidecar {
		return Changed
	}
	// What was renamed is what the name stood for at that moment: another dir, if somebody
	// moved one there after the last look.
	if id, err := m.root.ID(hidden); err != nil || id != e.Dir {
		return Changed
	}
	if reason, err := m.mounted(hidden); reason != "" || err != nil {
		return reason
	}
	return ""
}

// restore gives a quarantined dir, which must stay because of reason, its name again.
// If that is taken, by the next daemon of the name, it stays hidden.
func (m *remover) restore(hidden string, reason Reason) removal {
	name := strings.TrimPrefix(hidden, daemondir.QuarantinePrefix)
	err := m.root.Rename(hidden, name)
	switch {
	case err == nil:
		return keep(reason)
	case errors.Is(err, fs.ErrExist):
		return removal{kept: reason, hidden: hidden}
	case fsys.Gone(err):
		return keep(Gone)
	}
	return removal{kept: reason, hidden: hidden, err: fmt.Errorf("putting back %q: %w", m.root.Path(hidden), err)}
}

// removeTree removes the quarantined dir hidden, which is d. Its sidecar goes last: so a
// leftover of an interrupted removal can be judged again, or is empty.
func (m *remover) removeTree(d *daemondir.Dir, hidden string) removal {
	var done removal
	err := m.empty(d, hidden, &done.Freed)
	if err == nil {
		err = m.root.Remove(hidden)
		switch {
		case fsys.Gone(err):
			err = fsys.ErrReplaced
		case errors.Is(err, fs.ErrExist): // it is not empty
			if open, other, _ := m.root.Left(hidden); open && !other {
				err = fsys.ErrStillOpen
			}
		}
	}
	switch {
	case errors.Is(err, fsys.ErrStillOpen):
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

// empty removes all that is in the quarantined dir hidden, which is d.
func (m *remover) empty(d *daemondir.Dir, hidden string, freed *fsys.Freed) error {
	t, err := m.root.OpenTree(d, hidden)
	if err != nil {
		return err
	}
	defer t.Close()
	sidecar := daemondir.SidecarName(hidden)
	if err := t.Empty(sidecar, freed, func(name string) { m.step("removed", name) }); err != nil {
		return err
	}
	err = t.Remove(sidecar, freed)
	m.step("removed sidecar")
	return err
}

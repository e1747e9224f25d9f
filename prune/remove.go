package prune

// Removal: decide last, on the spot. The steps and their order are the protection;
// the comments say against what.

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir"
)

// A remover removes daemon dirs of one root during one pass. Make it with newRemover and
// close it.
type remover struct {
	root *fsys.Root
	prober

	look             // the last one that it knows of
	shared *passLook // with the other removers of the pass

	staleAfter   time.Duration
	invalidAfter time.Duration
	dryRun       bool
	judge        func(daemondir.Entry, Liveness) Verdict // as of now

	locks    map[uint64]string // who holds a lock on which inode; nil: see findLock
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
	c.updateScope()
	root, err := fsys.OpenRoot(c.root)
	if err != nil {
		return nil, err
	}
	m := &remover{root: root, prober: c.prober, shared: new(passLook), staleAfter: staleAfter, invalidAfter: c.invalidAfter,
		dryRun: dryRun, reached: c.reached}
	m.judge = func(e daemondir.Entry, l Liveness) Verdict {
		v, _ := c.judge(e, l, m.now(), staleAfter)
		return v
	}
	// If the root is being moved, the first dir looks once more.
	if err = m.findUsers(); err != nil && !errors.Is(err, fsys.ErrReplaced) {
		root.Close()
		return nil, err
	}
	return m, nil
}

func (m *remover) close() { m.root.Close() }

// A removal is what became of one attempt.
type removal struct {
	kept       Reason // empty: it was removed, or would be in a dry run
	err        error  // what the system refused; kept says how that counts
	details    string // what the check has found, and
	user       int32  // the pid of who uses the dir, as in a finding
	fsys.Freed        // what was removed, the daemon dir included

	hidden    string    // the quarantined name it was left under, if so
	putBack   bool      // it was away under that name, and has its own again
	notBefore time.Time // if known: another attempt before that would end the same way
}

func keep(reason Reason) removal { return removal{kept: reason} }

func fail(err error) removal {
	switch {
	case fsys.Gone(err):
		return keep(Gone)
	case fsys.Busy(err):
		return keep(InUse) // in a moment it may be otherwise
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
	text    []byte // of the sidecar at the last look, where there are no leases
}

// junk reports whether nothing says when the dir's daemon was alive.
func (a *attempt) junk() bool { return !a.e.LastSeen.Known }

// noSidecar reports whether there is no regular file of the sidecar's name.
func (a *attempt) noSidecar() bool { return a.e.Sidecar == daemondir.Stamp{} }

// read reads the dir again, as it is in whatever place.
func (a *attempt) read() (daemondir.Entry, error) {
	if a.sidecar == nil {
		return a.d.Read()
	}
	return a.d.ReadFrom(a.sidecar)
}

func (a *attempt) close() {
	a.closeFiles()
	if a.unlock != nil {
		a.unlock()
	}
}

// closeFiles closes the sidecar and the dir.
func (a *attempt) closeFiles() {
	a.closeSidecar()
	if a.d != nil {
		a.d.Close()
		a.d = nil
	}
}

// letGo closes them where there is no lease to be kept: Windows renames no directory in which
// anything is open, and removes one only when it is closed.
func (a *attempt) letGo() {
	if !fsys.HasLeases {
		a.closeFiles()
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
	// 1. Shape and mounts. 2. Nothing uses it, and all of it can go. 3. The last look, under
	// the lease.
	for _, p := range protections {
		if f := p.make(m, a); f.kept != "" {
			return removal{kept: f.kept, err: f.err, notBefore: f.notBefore, details: f.details, user: f.user}
		}
	}
	if m.dryRun {
		return removal{}
	}
	m.step("judged")
	a.letGo()

	// 4. Out of sight, and look whether somebody was on the way in.
	hidden := e.Name
	if !daemondir.Quarantined(e.Name) {
		hidden = daemondir.QuarantinePrefix + e.Name
		if err := m.rename(e.Name, hidden); err != nil {
			return fail(err)
		}
		m.step("renamed")
	}
	if r := m.recheckRenamed(a, hidden); r.kept != "" {
		a.letGo()
		return m.restore(hidden, r)
	}
	m.step("looked")

	// 5. Nobody can find it any more.
	r := m.removeTree(a, hidden)
	if r.putBack {
		a.letGo()
		return m.restore(hidden, r) // then the lease ends
	}
	if r.kept != "" {
		r.hidden = hidden
	}
	return r
}

// recheckRenamed looks once more at a dir that has been renamed to hidden, and returns why it
// must go back. With leases it looks through the descriptors that were opened before: a spawner
// that resolved the sidecar's path before the rename is waiting for the lease now, and one
// that got past the sidecar has changed the pid file. Without, it opens the dir again, which
// must be the same, with the same text in its sidecar.
func (m *remover) recheckRenamed(a *attempt, hidden string) removal {
	if !fsys.HasLeases {
		if r := m.reopen(a, hidden); r.kept != "" {
			return r
		}
	}
	if a.d.Marked() {
		return keep(Protected) // since the last look; whoever did it was told that it stays
	}
	if a.leased {
		if !fsys.LeaseHeld(a.sidecar) {
			return a.leaseBroken()
		}
		// Nobody has come to the sidecar, then.
		if m.root.PIDStamp(hidden) != a.e.PIDFile {
			return keep(Respawned)
		}
	} else if again, err := a.read(); err != nil || again.Renamed(a.e.Name) != a.e || !a.sameText() {
		return keep(Respawned)
	}
	// A collector that has no leases replaces the file that it refreshes. That does not break
	// ours, which is on the old one.
	if m.root.SidecarStamp(hidden) != a.e.Sidecar {
		return keep(Changed)
	}
	// What was renamed is what the name stood for at that moment: another dir, if somebody
	// moved one there after the last look.
	if id, err := m.root.ID(hidden); err != nil || id != a.e.Dir {
		return keep(Changed)
	}
	reason, err := m.mounted(hidden)
	return removal{kept: reason, err: err}
}

// leaseBroken returns why the dir must stay of which the sidecar's lease is not held any more.
func (a *attempt) leaseBroken() removal {
	if fsys.BrokenByReader(a.sidecar) {
		return removal{kept: InUse, details: "its sidecar is being read"}
	}
	return keep(Respawned)
}

// reopen opens the dir of a again, which has been renamed to hidden, and returns why it must go
// back if it or its sidecar is another one, or it cannot be opened.
func (m *remover) reopen(a *attempt, hidden string) removal {
	d, err := m.root.Open(hidden)
	if err != nil {
		return fail(err)
	}
	a.d = d
	// A collector that refreshes the sidecar replaces it, a spawner writes it.
	if d.ID() != a.e.Dir || !a.noSidecar() && m.root.SidecarStamp(hidden).Ino != a.e.Sidecar.Ino {
		return keep(Changed)
	}
	return removal{}
}

// sameText reports whether the sidecar still has the text of the last look, where there are no
// leases. Its stamp would miss a rewrite of the same length within a tick of the clock.
func (a *attempt) sameText() bool {
	if fsys.HasLeases || a.noSidecar() {
		return true
	}
	f, err := a.d.OpenSidecar(daemondir.ReadOnly)
	if err != nil {
		return false
	}
	defer f.Close()
	text, _, _ := f.Text()
	return bytes.Equal(text, a.text)
}

// restore gives a quarantined dir, which must stay for the reason of why, its name again.
// If that is taken, by the next daemon of the name, it stays hidden.
func (m *remover) restore(hidden string, why removal) removal {
	r := removal{kept: why.kept, err: why.err, details: why.details, user: why.user}
	name := strings.TrimPrefix(hidden, daemondir.QuarantinePrefix)
	switch err := m.rename(hidden, name); {
	case err == nil:
		r.putBack = true
		return r
	case fsys.Gone(err):
		return keep(Gone)
	case !errors.Is(err, fs.ErrExist) && !fsys.Busy(err): // else the next sweep tries again
		r.err = fmt.Errorf("putting back %q: %w", m.root.Path(hidden), err)
	}
	r.hidden = hidden
	return r
}

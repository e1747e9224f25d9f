package prune

// Removal: decide last, on the spot. The steps and their order are the protection;
// the comments say against what.

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"runtimegc/registry/daemondir"
)

// A remover removes daemon dirs of one root during one sweep. Make it with newRemover
// and close it.
type remover struct {
	path   string          // the root, as configured
	root   *os.Root        // the root, so that nothing outside it can be reached
	dir    *os.File        // the same directory, for renames
	dirs   *daemondir.Root // and to open daemon dirs in it
	dev    uint64          // its device number
	mounts *mounts
	users  users
	buf    []byte // for reading directories
	prober

	staleAfter time.Duration
	dryRun     bool
	protects   patterns

	locks    map[uint64]string // of a dry run; see flocks
	locksErr error             // why there are none

	attend  func()            // nil: nothing else is waiting
	reached func(step string) // told, if not nil, of each step that is done: the tests are killed there
}

func (m *remover) step(words ...string) {
	if m.reached != nil {
		m.reached(strings.Join(words, " "))
	}
}

// newRemover takes what the removals of one sweep have in common. attend, if not nil, is
// called now and then, as it is in the course of a long removal.
func newRemover(root string, staleAfter time.Duration, dryRun bool, p prober, attend func()) (*remover, error) {
	dir, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		dir.Close()
		return nil, err
	}
	m := &remover{path: root, root: r, dir: dir, prober: p, staleAfter: staleAfter, dryRun: dryRun, attend: attend}
	if err := m.begin(); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *remover) begin() (err error) {
	if m.dirs, err = daemondir.OpenRoot(m.path); err != nil {
		return err
	}
	a, errA := m.dir.Stat()
	b, errB := m.root.Stat(".")
	if err := errors.Join(errA, errB); err != nil {
		return err
	}
	if !os.SameFile(a, b) {
		return fmt.Errorf("root %q was replaced while it was opened", daemondir.Printable(m.path))
	}
	m.dev = daemondir.Identify(a).Dev
	if m.users, err = findUsers(m.path, m.attend); err != nil {
		return fmt.Errorf("reading the process table: %w", err)
	}
	if m.dryRun {
		m.locks, m.locksErr = flocks(m.dir)
	}
	m.mounts, err = openMounts(m.users.root)
	return err
}

func (m *remover) close() {
	m.root.Close()
	m.dir.Close()
	if m.dirs != nil {
		m.dirs.Close()
	}
	if m.mounts != nil {
		m.mounts.close()
	}
}

// A removal is what became of one attempt.
type removal struct {
	kept  Reason // empty: it was removed, or would be in a dry run
	err   error  // why, where the system said no; with it kept is Failed or Permission
	files int    // files and directories removed, the daemon dir included
	bytes int64  // bytes freed: of files whose last link this was

	hidden string // the quarantined name it was left under, if so
}

func keep(reason Reason) removal { return removal{kept: reason} }

func fail(err error) removal {
	if errors.Is(err, fs.ErrNotExist) {
		return keep(Gone)
	}
	return removal{kept: reasonOf(err), err: err}
}

func reasonOf(err error) Reason {
	if errors.Is(err, fs.ErrPermission) {
		return Permission
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
	if a.sidecar != nil {
		a.sidecar.Close()
	}
	if a.unlock != nil {
		a.unlock()
	}
	if a.d != nil {
		a.d.Close()
	}
}

// A finding is what came of one question about an attempt.
type finding struct {
	kept    Reason // empty: nothing against a removal
	err     error  // what the system refused, if it did; kept says how that counts
	details string // what was found, if there is more to say than the reason
	untold  error  // a dry run cannot tell, and this is why; a removal asks for itself
}

// protections are the questions before a removal, in this order; the first that finds
// a reason to keep the dir ends it. [Collector.Explain] asks all of them.
var protections = [...]struct {
	check Question
	ask   func(*remover, *attempt) finding
}{
	{AskShape, (*remover).askShape},
	{AskMounts, (*remover).askMounts},
	{AskLock, (*remover).askLock},
	{AskUsers, (*remover).askUsers},
	{AskLastLook, (*remover).askLastLook},
}

// remove removes the daemon dir e if it still is what e says, nobody uses it, and the
// judge, asked again, still says so.
func (m *remover) remove(e daemondir.Entry) removal {
	a := &attempt{e: e}
	defer a.close()
	// 1. Shape and mounts. 2. Nothing uses it. 3. The last look, under the lease.
	for _, p := range protections {
		if f := p.ask(m, a); f.kept != "" {
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
		if err := renameNoReplace(m.root, m.dir, e.Name, hidden); err != nil {
			return fail(err)
		}
		m.step("renamed")
	}
	if reason := m.afterthought(a.d, a.sidecar, a.leased, e, hidden); reason != "" {
		return m.restore(hidden, reason)
	}
	m.step("looked")

	// 5. Nobody can find it any more.
	r := m.removeTree(a.d, hidden)
	if r.kept != "" {
		r.hidden = hidden
	}
	return r
}

// askShape opens the dir: a real directory directly in the root, the one that was
// judged, on the root's device.
func (m *remover) askShape(a *attempt) finding {
	d, err := m.dirs.OpenDir(a.e.Name)
	if err != nil {
		return refusal(err)
	}
	a.d = d
	switch {
	case d.ID() != a.e.Dir:
		return finding{kept: Changed}
	case d.ID().Dev != m.dev:
		return finding{kept: MountPoint, details: "it is on another device than the root"}
	}
	return finding{}
}

// refusal is the finding of a question that the system did not answer.
func refusal(err error) finding {
	r := fail(err)
	return finding{kept: r.kept, err: r.err}
}

func (m *remover) askMounts(a *attempt) finding {
	reason, err := m.mounted(a.e.Name)
	return finding{kept: reason, err: err}
}

// mounted returns MountPoint if something is mounted in the dir name.
func (m *remover) mounted(name string) (Reason, error) {
	below, err := m.mounts.below(name)
	if err != nil {
		return Failed, err
	}
	if below {
		return MountPoint, nil
	}
	return "", nil
}

// askLock asks whether somebody holds a flock(2) on the dir: a manager protects it by
// LOCK_SH. The removal takes LOCK_EX itself, so that nobody can lock the dir from here
// on. A dry run must not: for that moment it would have a collector keep the dir, and
// a manager that does not wait miss its lock; and LOCK_SH, which would disturb less,
// is had beside the very locks that are looked for. It reads the kernel's table.
func (m *remover) askLock(a *attempt) finding {
	if m.dryRun {
		if m.locksErr != nil {
			return finding{untold: m.locksErr}
		}
		if pid, held := m.locks[a.e.Dir.Ino]; held {
			return finding{kept: Locked, details: fmt.Sprintf("pid %s holds a lock on it", pid)}
		}
		return finding{}
	}
	unlock, err := m.lock(a.d, a.e.Name)
	switch {
	case errors.Is(err, errLocked):
		return finding{kept: Locked}
	case err != nil:
		return refusal(err)
	}
	a.unlock = unlock
	return finding{}
}

func (m *remover) askUsers(a *attempt) finding {
	if pid, used := m.users.byName[a.e.Name]; used {
		return finding{kept: InUse, details: fmt.Sprintf("pid %d has its program, its working directory or an open file there", pid)}
	}
	if m.users.unreadable > 0 {
		return finding{details: fmt.Sprintf("no process is seen to; %d of other users cannot be looked into", m.users.unreadable)}
	}
	return finding{}
}

// askLastLook opens the sidecar and, but for a dry run, takes the lease: under it nobody
// rewrites the sidecar. Then it reads all again, probes again, and judges again.
func (m *remover) askLastLook(a *attempt) finding {
	var err error
	a.sidecar, err = a.d.OpenSidecar(daemondir.ReadOnly)
	switch {
	case errors.Is(err, daemondir.ErrBusy):
		return finding{kept: InUse, details: "its sidecar is being written"}
	case err != nil:
		return refusal(err)
	}
	if !m.dryRun {
		switch takeLease(a.sidecar) {
		case nil:
			a.leased = true
		case errOpenElsewhere:
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
	h := m.probe(fresh, fresh.PID, filepath.Join(m.path, e.Name))
	defer h.release()
	if v := Judge(fresh, h.Liveness, m.now(), m.staleAfter, m.protects.match(e.Name)); v.Decision != Remove {
		if v.State == Alive {
			return Respawned
		}
		return v.Reason
	}
	return ""
}

// afterthought looks once more at a dir that has been renamed to hidden, through the
// descriptors that were opened before, and returns why it must go back. A spawner that
// resolved the sidecar's path before the rename is waiting for the lease now, and one
// that got past the sidecar has changed the pid file.
func (m *remover) afterthought(d *daemondir.Dir, sidecar *daemondir.File, leased bool, e daemondir.Entry, hidden string) Reason {
	if leased {
		// Nobody has come to the sidecar, then.
		if !leaseHeld(sidecar) || daemondir.PIDStamp(m.path, hidden) != e.PIDFile {
			return Respawned
		}
	} else if again, err := d.ReadFrom(sidecar); err != nil || again != e {
		return Respawned
	}
	// What was renamed is what the name stood for at that moment: another dir, if somebody
	// moved one there after the last look.
	info, err := m.root.Lstat(hidden)
	if err != nil || daemondir.Identify(info) != e.Dir {
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
	err := renameNoReplace(m.root, m.dir, hidden, name)
	switch {
	case err == nil:
		return keep(reason)
	case errors.Is(err, fs.ErrExist):
		return removal{kept: reason, hidden: hidden}
	case errors.Is(err, fs.ErrNotExist):
		return keep(Gone)
	}
	return removal{kept: reason, hidden: hidden, err: fmt.Errorf("putting back %q: %w", filepath.Join(m.path, hidden), err)}
}

// finish deals with a quarantined dir that an interrupted removal left: it is judged
// again, and removed or given its name back.
func (m *remover) finish(hidden string) removal {
	e, err := daemondir.Read(m.path, hidden)
	switch {
	case err != nil:
		return fail(err)
	case e.Problem == daemondir.ProblemNoSidecar:
		return m.finishEmpty(hidden)
	case e.Problem != daemondir.ProblemNone:
		// Nothing that we left: our removals begin with a good sidecar, and it goes last.
		return removal{kept: Reason(e.Problem.String()), hidden: hidden}
	}
	r := m.remove(e)
	if r.kept == "" || r.kept == Gone || r.err != nil || r.hidden != "" || m.dryRun {
		return r
	}
	return m.restore(hidden, r.kept)
}

// finishEmpty removes a quarantined dir without a sidecar. The sidecar goes last, so
// what has none is empty, or it is not ours.
func (m *remover) finishEmpty(hidden string) removal {
	dir, err := m.root.OpenFile(hidden, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return fail(err)
	}
	defer dir.Close()
	if _, err := dir.ReadDir(1); err == nil {
		return removal{kept: NotADaemonDir, hidden: hidden}
	} else if !errors.Is(err, io.EOF) {
		return fail(err)
	}
	if m.dryRun {
		return removal{}
	}
	if err := m.root.Remove(hidden); err != nil {
		return fail(err)
	}
	return removal{files: 1}
}

// errReplaced says that the quarantined dir is not the one that was judged.
var errReplaced = errors.New("replaced")

// removeTree removes the quarantined dir hidden, which is d. Its sidecar goes last: so a
// leftover of an interrupted removal can be judged again, or is empty.
func (m *remover) removeTree(d *daemondir.Dir, hidden string) removal {
	t, err := m.openTree(d, hidden)
	if errors.Is(err, errReplaced) {
		return keep(Changed)
	}
	if err != nil {
		return fail(err)
	}
	defer t.close()
	var done removal
	sidecar := daemondir.SidecarName(hidden)
	if err = m.empty(t, sidecar, &done); err == nil {
		err = m.removeAny(t, sidecar, &done)
		m.step("removed sidecar")
	}
	if err == nil {
		err = m.removeDir(hidden)
	}
	if err != nil {
		done.kept = reasonOf(err)
		done.err = fmt.Errorf("removing %q: %w", filepath.Join(m.path, hidden), err)
		return done
	}
	done.files++
	return done
}

// removeBatch is how much of a directory is read at a time, in bytes: some 1,000 names.
// What a removal needs in memory does not depend on the size of the tree, and births are
// attended to between two batches.
const removeBatch = 32 << 10

// found is what is to be known of a file before it is removed.
type found struct {
	dir   bool
	bytes int64 // that its removal frees: a trampoline is a link to a binary that all share
}

// empty removes all that is in t but for the name spare, and counts it. It goes on after
// an error, and returns the first.
func (m *remover) empty(t *tree, spare string, done *removal) error {
	for {
		var first error
		removed := 0
		for {
			names, err := t.next()
			if err != nil {
				return notIfGone(err)
			}
			before := removed
			for _, name := range names {
				if name == spare {
					continue
				}
				if err := m.removeAny(t, name, done); err == nil {
					removed++
				} else if first == nil {
					first = err
				}
				m.step("removed", name)
			}
			if len(names) == 0 || !treeReadsOn && removed == before {
				break
			}
			if m.attend != nil {
				m.attend()
			}
		}
		if removed == 0 || !t.again() {
			return first
		}
	}
}

// removeAny removes name, and what is below it, from t, and counts it.
func (m *remover) removeAny(t *tree, name string, done *removal) error {
	f, err := t.stat(name)
	if err != nil {
		return notIfGone(err)
	}
	if f.dir {
		below, err := t.below(name)
		if err != nil {
			return notIfGone(err)
		}
		err = m.empty(below, "", done)
		below.close()
		if err != nil {
			return err
		}
	}
	if err := t.remove(name, f.dir); err != nil {
		return notIfGone(err)
	}
	done.files++
	done.bytes += f.bytes
	return nil
}

func notIfGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

package integration

// What the steps of a storm of a model do to dirs: they hold, hide and move them, and the
// roots.

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"runtimegc/registry/daemondir"

	"golang.org/x/sys/unix"
)

// hold begins to use, lock or protect the dir of a live daemon, which is killed then, more
// often than not, and ends that later. The log must have said reason, if not empty.
func (m *model) hold(reason string, begin func(*place) (end func() error, err error)) {
	m.with(living, func(p *place) {
		end, err := begin(p)
		if err != nil {
			m.fail(p, "%s: %v", m.kind, err)
		}
		p.stays = true
		if m.rng.IntN(4) > 0 {
			m.kill(p)
		}
		m.later(1200, p, func() {
			m.guard()
			m.mustBeExplained(p, reason)
			p.stays = false
			noError(m.t, end())
		})
	})
}

func (m *model) lock(p *place) (end func() error, err error) {
	f, err := os.Open(p.path())
	if err == nil {
		err = unix.Flock(int(f.Fd()), unix.LOCK_SH)
	}
	return f.Close, err
}

func openFile(p *place) (end func() error, err error) {
	f, err := os.Create(filepath.Join(p.path(), "held.log"))
	return f.Close, err
}

func (m *model) workIn(p *place) (end func() error, err error) {
	cmd := waiting(m.image)
	cmd.Dir = p.path()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() error { err := cmd.Process.Kill(); _ = cmd.Wait(); return err }, nil
}

func (m *model) protectByCommand(p *place) (end func() error, err error) {
	change := func(command string) error {
		run(m.t, command, p.name, "--root", p.shelf.root, "--config", m.config.path).must(m.t)
		return nil
	}
	return func() error { return change("unprotect") }, change("protect")
}

func protectByMark(p *place) (end func() error, err error) {
	_, err = daemondir.Protect(p.shelf.root, p.name)
	return func() error { _, err := daemondir.Unprotect(p.shelf.root, p.name); return err }, err
}

// protectByPattern changes the configuration, and waits until the watch knows it.
func (m *model) protectByPattern() {
	if m.stopped || m.stalled || m.limited {
		return
	}
	m.hold("", func(p *place) (func() error, error) {
		pattern := patternOf(p.name)
		m.protected[pattern]++
		m.reconfigure()
		return func() error {
			m.protected[pattern]--
			m.reconfigure()
			return nil
		}, nil
	})
}

// patternOf returns a pattern that a configuration can hold.
func patternOf(name string) string {
	if name == modelName(0) {
		return "wild*"
	}
	return name
}

func (m *model) protects(name string) bool { return m.protected[patternOf(name)] > 0 }

// reconfigure writes the configuration, and has the watch read it.
func (m *model) reconfigure() {
	m.configure()
	if m.stopped || m.stalled || m.limited {
		noError(m.t, m.w.cmd.Process.Signal(syscall.SIGHUP))
		return
	}
	m.catchUp()
	m.w.hangup("config.reloaded")
}

func mountIn(p *place) (end func() error, err error) {
	at := filepath.Join(p.path(), "mnt")
	if err := os.MkdirAll(at, 0o755); err != nil {
		return nil, err
	}
	return func() error { return unix.Unmount(filepath.Join(p.path(), "mnt"), unix.MNT_DETACH) }, unix.Mount("tmpfs", at, "tmpfs", 0, "size=64k")
}

func (m *model) mountOver() {
	m.spoil(func(p *place) {
		if m.rng.IntN(2) == 0 {
			noError(m.t, unix.Mount("tmpfs", p.path(), "tmpfs", 0, "size=64k"))
		} else {
			noError(m.t, unix.Mount(filepath.Join(m.base, "empty"), p.path(), "", unix.MS_BIND, ""))
		}
		p.hidden = true
	}, func(p *place) {
		noError(m.t, unix.Unmount(p.path(), unix.MNT_DETACH))
		p.hidden = false
	})
}

// unmount ends what a storm that failed has mounted, so that all can be removed.
func (m *model) unmount() {
	for _, s := range m.shelves {
		if s.covered {
			_ = unix.Unmount(s.root, unix.MNT_DETACH)
		}
	}
	for _, p := range m.places {
		if p.hidden {
			_ = unix.Unmount(p.path(), unix.MNT_DETACH)
		}
		_ = unix.Unmount(filepath.Join(p.path(), "mnt"), unix.MNT_DETACH)
	}
}

// clearAway removes a tree in which others write.
func clearAway(path string) (err error) {
	for range 100 {
		if err = os.RemoveAll(path); err == nil {
			return nil
		}
	}
	return err
}

// cleanupLive removes the dir of a daemon that lives on for a while.
func (m *model) cleanupLive() {
	m.with(living, func(p *place) {
		m.places = slices.DeleteFunc(m.places, func(other *place) bool { return other == p })
		noError(m.t, clearAway(p.path()))
		m.later(100, nil, p.d.kill)
	})
}

func (m *model) renameAndBack() {
	m.with(living, func(p *place) {
		was, at := p.path(), fmt.Sprint("renamed-", m.step)
		noError(m.t, os.Rename(was, filepath.Join(p.shelf.root, at)))
		p.at = at
		m.later(300, p, func() {
			noError(m.t, os.Rename(p.path(), filepath.Join(p.shelf.root, p.name)))
			p.at = p.name
		})
	})
}

func (m *model) outAndIn() {
	m.with(living, func(p *place) {
		aside := filepath.Join(m.base, "aside", strconv.Itoa(m.step))
		noError(m.t, os.Rename(p.path(), aside))
		time.Sleep(time.Duration(m.rng.IntN(3)) * time.Millisecond)
		noError(m.t, os.Rename(aside, p.path()))
	})
}

func (m *model) move() {
	to := m.shelves[m.rng.IntN(len(m.shelves))]
	p := m.pick(func(p *place) bool { return m.find(to, p.name) == nil })
	if p == nil || to.covered || to.retired {
		return
	}
	err := os.Rename(p.path(), filepath.Join(to.root, p.name))
	if err == nil {
		p.shelf = to
	} else if p.live {
		m.fail(p, "moving it: %v", err)
	}
}

func (m *model) exchangeAndBack() {
	p := m.pick(living)
	if p == nil {
		return
	}
	q := m.pick(func(q *place) bool { return q.live && q != p && q.shelf == p.shelf })
	if q == nil {
		return
	}
	exchange := func() {
		noError(m.t, swap(p.path(), q.path()))
		p.at, q.at = q.at, p.at
	}
	exchange()
	q.busy = true
	m.later(300, p, func() { exchange(); q.busy = false })
}

func swap(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}

func (m *model) exchangeAcross() {
	var q *place
	p := m.pick(func(p *place) bool {
		q = nil
		for _, other := range m.places {
			if other.name == p.name && other.shelf != p.shelf && !other.busy && !other.shelf.covered {
				q = other
			}
		}
		return q != nil
	})
	if p == nil {
		return
	}
	m.note(q)
	err := swap(p.path(), q.path())
	if err == nil {
		p.shelf, q.shelf = q.shelf, p.shelf
	} else if p.live && q.live {
		m.fail(p, "exchanging it: %v", err)
	}
}

// plainRoot returns the number of a root that is no symlink, and begins to change it.
func (m *model) plainRoot() (n int, ok bool) {
	if m.rootBusy {
		return 0, false
	}
	m.done[m.kind]++
	m.calm = false
	return m.rng.IntN(len(m.roots) - 1), true
}

// laterRoot is later for what is done to a root.
func (m *model) laterRoot(do func()) {
	m.rootBusy = true
	m.later(150, nil, func() { do(); m.rootBusy = false; m.calm = false })
}

func (m *model) exchangeRoots() {
	i, ok := m.plainRoot()
	if !ok {
		return
	}
	j := (i + 1) % (len(m.roots) - 1)
	a, b := m.served[i], m.served[j]
	noError(m.t, swap(a.root, b.root))
	a.root, b.root = b.root, a.root
	m.served[i], m.served[j] = b, a
}

func (m *model) rootAway() {
	i, ok := m.plainRoot()
	if !ok {
		return
	}
	s := m.served[i]
	to := func(path string) {
		noError(m.t, os.Rename(s.root, path))
		s.root = path
	}
	to(filepath.Join(m.base, "roots", fmt.Sprint("away-", m.step)))
	m.served[i] = nil
	m.laterRoot(func() { to(m.roots[i]); m.served[i] = s })
}

// replaceRoot puts a new root into the place of another, whose daemons are killed later.
func (m *model) replaceRoot() {
	i, ok := m.plainRoot()
	if !ok {
		return
	}
	s := m.served[i]
	gone := filepath.Join(m.base, "roots", fmt.Sprint("gone-", m.step))
	noError(m.t, os.Rename(s.root, gone))
	s.root, s.retired = gone, true
	m.served[i] = m.newShelf(m.roots[i])
	m.shelves = append(m.shelves, m.served[i])
	m.later(300, nil, func() { m.retire(s) })
}

// retire ends all that is in a shelf that is no root any more, as soon as nothing in it is
// to be undone.
func (m *model) retire(s *shelf) {
	var rest []*place
	for _, p := range m.places {
		switch {
		case p.shelf != s:
			rest = append(rest, p)
		case p.busy:
			m.later(300, nil, func() { m.retire(s) })
			return
		case p.live:
			m.kill(p)
		}
	}
	m.places = rest
	m.shelves = slices.DeleteFunc(m.shelves, func(other *shelf) bool { return other == s })
	noError(m.t, clearAway(s.root))
}

// retarget has the symlink lead to the other of its two shelves.
func (m *model) retarget() {
	if _, ok := m.plainRoot(); !ok {
		return
	}
	last := len(m.roots) - 1
	to := m.shelves[slices.IndexFunc(m.shelves, func(s *shelf) bool {
		return s != m.served[last] && (s.root == m.rootPath(3) || s.root == m.rootPath(4))
	})]
	next := m.roots[last] + ".next"
	noError(m.t, os.Symlink(filepath.Base(to.root), next))
	noError(m.t, os.Rename(next, m.roots[last]))
	m.served[last] = to
}

func (m *model) mountOverRoot() {
	i, ok := m.plainRoot()
	if !ok {
		return
	}
	s := m.served[i]
	noError(m.t, unix.Mount(filepath.Join(m.base, "empty"), s.root, "", unix.MS_BIND, ""))
	s.covered = true
	m.laterRoot(func() {
		noError(m.t, unix.Unmount(s.root, unix.MNT_DETACH))
		s.covered = false
	})
}

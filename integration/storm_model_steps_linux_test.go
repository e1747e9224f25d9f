package integration

// The table of the steps of a storm of a model, and what they do to daemons and their files.

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// modelKind is a kind of steps.
type modelKind struct {
	name   string
	weight int
	do     func(m *model)
	mounts bool // only who may mount things can
	early  bool // not among the last steps
}

var modelKinds = []modelKind{
	{name: "rest", weight: 40, do: func(m *model) { m.done[m.kind]++; time.Sleep(time.Duration(m.rng.IntN(20)) * time.Millisecond) }},

	// Daemons come and go.
	{name: "spawn", weight: 40, do: (*model).spawnAny},
	{name: "spawn by rename", weight: 8, do: func(m *model) { m.spawnOddly(writeByRename, false) }},
	{name: "spawn, sidecar last", weight: 8, do: func(m *model) { m.spawnOddly(writeInPlace, true) }},
	{name: "spawn elsewhere, then move in", weight: 8, do: (*model).spawnElsewhere},
	{name: "spawn that fails", weight: 8, do: (*model).spawnFails},
	{name: "leave one long dead", weight: 8, do: (*model).leaveOld},
	{name: "kill", weight: 20, do: func(m *model) { m.with(living, m.kill) }},
	{name: "kill by SIGHUP", weight: 6, do: func(m *model) {
		m.with(living, func(p *place) { _ = p.d.cmd.Process.Signal(syscall.SIGHUP); m.kill(p) })
	}},
	{name: "kill, a zombie", weight: 6, do: func(m *model) { m.with(living, m.abandon) }},
	{name: "SIGTERM, which it ignores", weight: 4, do: func(m *model) {
		m.with(ignoring, func(p *place) { noError(m.t, p.d.cmd.Process.Signal(syscall.SIGTERM)) })
	}},
	{name: "respawn", weight: 20, do: func(m *model) { m.with(living, func(p *place) { m.kill(p); m.spawnIn(p.shelf, p.name, p.shelf.try) }) }},
	{name: "respawn beside the old process", weight: 6, do: func(m *model) {
		m.with(living, func(p *place) {
			old := p.d
			m.spawnIn(p.shelf, p.name, p.shelf.try)
			m.later(100, nil, old.kill)
		})
	}},

	// Files of a daemon dir change at once.
	{name: "pid file written again", weight: 6, do: func(m *model) { m.with(living, writePID) }},
	{name: "sidecar written again", weight: 6, do: func(m *model) { m.with(living, mendSidecar) }},
	{name: "sidecar replaced", weight: 6, do: func(m *model) {
		m.with(living, func(p *place) {
			p.text = append(bytes.TrimSuffix(p.text, []byte("\n}")), "  \n}"...)
			noError(m.t, writeByRename(p.sidecar(), p.text))
		})
	}},
	{name: "sidecar changed by mmap", weight: 4, do: func(m *model) { m.with(living, m.remap) }},
	{name: "sidecar from long ago", weight: 4, do: func(m *model) {
		m.with(living, func(p *place) { p.text = daemondirtest.Sidecar(ago(stale), ago(stale)); mendSidecar(p) })
	}},
	{name: "touch", weight: 4, do: func(m *model) {
		m.with(nil, func(p *place) { _ = os.Chtimes(p.sidecar(), time.Now(), time.Now()) })
	}},
	{name: "wide and deep trees", weight: 3, do: func(m *model) { m.with(living, func(p *place) { m.grow(p); m.kill(p) }) }},
	{name: "a log", weight: 6, do: func(m *model) {
		m.with(living, func(p *place) { p.noisy = true; m.later(400, nil, func() { p.noisy = false }) })
	}},

	// Files of a daemon dir change and change back.
	{name: "pid file emptied", weight: 5, do: func(m *model) {
		m.spoil(func(p *place) { noError(m.t, os.Truncate(p.pidFile(), 0)) }, writePID)
	}},
	{name: "pid file removed", weight: 5, do: func(m *model) {
		m.spoil(func(p *place) { noError(m.t, os.Remove(p.pidFile())) }, writePID)
	}},
	{name: "sidecar emptied", weight: 5, do: func(m *model) {
		m.spoil(func(p *place) { noError(m.t, os.Truncate(p.sidecar(), 0)) }, mendSidecar)
	}},
	{name: "sidecar garbled", weight: 5, do: func(m *model) {
		m.spoil(func(p *place) { noError(m.t, os.WriteFile(p.sidecar(), []byte(`{"`+secret), 0o644)) }, mendSidecar)
	}},
	{name: "sidecar removed", weight: 5, do: func(m *model) {
		m.spoil(func(p *place) { noError(m.t, os.Remove(p.sidecar())) }, mendSidecar)
	}},
	{name: "sidecar garbled by another link", weight: 4, do: (*model).garbleByLink},
	{name: "chmod of a dir", weight: 4, do: func(m *model) { m.bar((*place).path, 0o755) }},
	{name: "chmod of a sidecar", weight: 4, do: func(m *model) { m.bar((*place).sidecar, 0o644) }},
	{name: "mount over a daemon dir", weight: 4, mounts: true, do: (*model).mountOver},

	// Dead, but held.
	{name: "lock", weight: 4, do: func(m *model) { m.hold("locked", m.lock) }},
	{name: "open file", weight: 4, do: func(m *model) { m.hold("in_use", openFile) }},
	{name: "working directory", weight: 3, do: func(m *model) { m.hold("in_use", m.workIn) }},
	{name: "protect by a command", weight: 1, do: func(m *model) { m.hold("", m.protectByCommand) }},
	{name: "protect by a mark", weight: 4, do: func(m *model) { m.hold("", protectByMark) }},
	{name: "protect by a pattern", weight: 3, do: (*model).protectByPattern},
	{name: "mount in a daemon dir", weight: 3, mounts: true, do: func(m *model) { m.hold("mount_point", mountIn) }},

	// Dirs move, and go.
	{name: "cleanup of a dead one", weight: 8, do: func(m *model) { m.with(deceased, func(p *place) { _ = clearAway(p.path()) }) }},
	{name: "cleanup of a live one", weight: 6, do: (*model).cleanupLive},
	{name: "rename, and back", weight: 5, do: (*model).renameAndBack},
	{name: "out and in again", weight: 5, do: (*model).outAndIn},
	{name: "move to another root", weight: 6, do: (*model).move},
	{name: "exchange of two dirs, and back", weight: 5, do: (*model).exchangeAndBack},
	{name: "exchange with another root's", weight: 6, do: (*model).exchangeAcross},

	// Roots.
	{name: "exchange of two roots", weight: 2, do: (*model).exchangeRoots},
	{name: "root away, and back", weight: 2, do: (*model).rootAway},
	{name: "root replaced", weight: 1, do: (*model).replaceRoot},
	{name: "symlink to a root retargeted", weight: 2, do: (*model).retarget},
	{name: "mount over a root", weight: 1, mounts: true, do: (*model).mountOverRoot},

	// What else may be in a root.
	{name: "symlink in the root", weight: 1, do: func(m *model) { m.litter("", func(path string) error { return os.Symlink("/etc", path) }) }},
	{name: "FIFO in the root", weight: 1, do: func(m *model) { m.litter("", func(path string) error { return unix.Mkfifo(path, 0o644) }) }},
	{name: "socket in the root", weight: 1, do: func(m *model) {
		m.litter("", func(path string) error { return unix.Mknod(path, unix.S_IFSOCK|0o644, 0) })
	}},
	{name: "file in the root", weight: 1, do: func(m *model) {
		m.litter("", func(path string) error { return os.WriteFile(path, []byte(secret), 0o644) })
	}},
	{name: "empty dir in the root", weight: 1, do: func(m *model) { m.litter("", func(path string) error { return os.Mkdir(path, 0o755) }) }},
	{name: "dir whose sidecar is a FIFO", weight: 1, do: func(m *model) { m.litter("", fifoSidecar) }},
	{name: "dir that is named like a leftover", weight: 1, do: func(m *model) { m.litter(".pruned-", dirWithFile) }},

	// The watch, and others beside it.
	{name: "watch stops for a moment", weight: 2, do: (*model).stopForAMoment},
	{name: "log is not read for a while", weight: 2, do: (*model).stall},
	{name: "few descriptors", weight: 1, do: (*model).fewDescriptors},
	{name: "overflow", weight: 1, do: (*model).overflow},
	{name: "invalid configuration", weight: 2, do: (*model).misconfigure},
	{name: "watch ends and starts", weight: 1, early: true, do: func(m *model) { m.restart(syscall.SIGTERM) }},
	{name: "watch is killed and starts", weight: 1, early: true, do: func(m *model) { m.restart(syscall.SIGKILL) }},
	{name: "second watch", weight: 1, do: (*model).secondWatch},
	{name: "list", weight: 1, do: func(m *model) { m.beside("list") }},
	{name: "list --json", weight: 1, do: func(m *model) { m.beside("list", "--json") }},
	{name: "prune --dry-run", weight: 1, do: func(m *model) { m.beside("prune", "--dry-run", "--json") }},
}

func living(p *place) bool { return p.live }

// ignoring reports whether a daemon has come as far as to ignore SIGTERM.
func ignoring(p *place) bool {
	if !p.live {
		return false
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.d.pid))
	_, mask, found := strings.Cut(string(text), "SigIgn:")
	bits, parseErr := strconv.ParseUint(strings.Fields(mask + " 0")[0], 16, 64)
	return err == nil && found && parseErr == nil && bits&(1<<(syscall.SIGTERM-1)) != 0
}

func deceased(p *place) bool { return !p.live && !p.stays }

// with does something to a place.
func (m *model) with(suitable func(*place) bool, do func(*place)) {
	if p := m.pick(suitable); p != nil {
		do(p)
	}
}

func (m *model) kill(p *place) {
	p.killed, p.live, p.noisy = time.Now(), false, false
	p.d.kill()
}

func (m *model) abandon(p *place) {
	p.killed, p.live, p.noisy = time.Now(), false, false
	noError(m.t, p.d.abandon())
	m.later(400, nil, p.d.kill)
}

func (m *model) spawnAny() {
	s, name := m.shelves[m.rng.IntN(len(m.shelves))], modelName(m.rng.IntN(modelNames))
	if p := m.find(s, name); !s.covered && !s.retired && (p == nil || !p.busy && !p.live) {
		m.spawnIn(s, name, s.try)
	}
}

// spawnIn spawns a daemon. A spawn that runs into the removal of the dir that it found is
// refused, and done again.
func (m *model) spawnIn(s *shelf, name string, try func(string, []byte) (*daemon, error)) {
	p := m.find(s, name)
	for {
		now := time.Now()
		text := daemondirtest.Sidecar(now, now)
		d, err := try(name, text)
		slow := time.Since(now) > modelStaleAfter/2 // it may have been removed, by the rule
		switch {
		case (daemondirtest.Dir{Root: s.root, Name: name}).Refused(err), err != nil && slow:
			continue
		case err != nil:
			m.fail(p, "spawning %q in %s: %v", name, s.root, err)
		}
		if p == nil {
			p = &place{shelf: s, name: name, at: name}
			m.places = append(m.places, p)
		}
		p.d, p.live, p.ino, p.text = d, true, d.inode, text
		m.note(p)
		return
	}
}

func writeInPlace(path string, text []byte) error { return os.WriteFile(path, text, 0o644) }

func writeByRename(path string, text []byte) error {
	next := filepath.Join(filepath.Dir(path), "next.tmp")
	if err := os.WriteFile(next, text, 0o644); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// spawnOddly spawns where there is nothing, by another way of writing, or in another order.
func (m *model) spawnOddly(write func(string, []byte) error, sidecarLast bool) {
	s, name := m.free()
	if s == nil {
		return
	}
	m.spawnIn(s, name, func(name string, text []byte) (*daemon, error) {
		dir := daemondirtest.Dir{Root: s.root, Name: name}
		noError(m.t, dir.Mkdir())
		if !sidecarLast {
			noError(m.t, write(dir.Sidecar(), text))
		}
		link := filepath.Join(dir.Path(), name)
		noError(m.t, os.Link(s.image, link))
		d := &daemon{name: name, dir: dir.Path(), cmd: waiting(link)}
		noError(m.t, d.cmd.Start())
		s.all = append(s.all, d)
		d.pid = d.cmd.Process.Pid
		noError(m.t, write(dir.PIDFile(), []byte(strconv.Itoa(d.pid))))
		if sidecarLast {
			noError(m.t, write(dir.Sidecar(), text))
		}
		info, err := os.Lstat(dir.Path())
		if err == nil {
			d.inode = inode(info)
		}
		return d, err
	})
}

// spawnElsewhere moves the whole dir of a live daemon into a root.
func (m *model) spawnElsewhere() {
	s, name := m.free()
	if s == nil {
		return
	}
	m.spawnIn(s, name, func(name string, text []byte) (*daemon, error) {
		nursery := &spawner{t: m.t, root: filepath.Join(m.base, "nursery"), image: m.image}
		d, err := nursery.try(name, text)
		noError(m.t, err)
		s.all = append(s.all, d)
		return d, os.Rename(d.dir, s.dir(name))
	})
}

func (m *model) spawnFails() {
	if s, name := m.free(); s != nil {
		now := time.Now()
		if _, err := s.begin(name, daemondirtest.Sidecar(now, now)); err != nil && time.Since(now) < modelStaleAfter/2 {
			m.fail(nil, "a spawn that fails: %v", err)
		}
		m.found(s, name)
	}
}

// leaveOld leaves a dir that is due at once; so it is made elsewhere.
func (m *model) leaveOld() {
	if s, name := m.free(); s != nil {
		d := daemondirtest.MakeDead(m.t, filepath.Join(m.base, "nursery"), name, stale)
		noError(m.t, os.Rename(d.Path(), s.dir(name)))
		m.found(s, name)
	}
}

// found takes down a dir whose daemon is dead.
func (m *model) found(s *shelf, name string) {
	p := &place{shelf: s, name: name, at: name, killed: time.Now()}
	m.places = append(m.places, p)
	m.note(p)
}

func writePID(p *place) { _ = os.WriteFile(p.pidFile(), []byte(strconv.Itoa(p.d.pid)), 0o644) }

func mendSidecar(p *place) { _ = os.WriteFile(p.sidecar(), p.text, 0o644) }

// remap changes the time of the spawn by a millisecond, and no event tells.
func (m *model) remap(p *place) {
	f, err := os.OpenFile(p.sidecar(), os.O_RDWR, 0)
	noError(m.t, err)
	defer f.Close()
	info, err := f.Stat()
	noError(m.t, err)
	text, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	noError(m.t, err)
	defer unix.Munmap(text)
	key := []byte(`"spawned_at_unix_ms": `)
	digit := &text[bytes.Index(text, key)+len(key)+12]
	*digit = '0' + (*digit-'0'+1)%10
	p.text = bytes.Clone(text)
}

// grow makes trees in the dir.
func (m *model) grow(p *place) {
	deep := filepath.Join(p.path(), strings.Repeat("deep/", 40))
	noError(m.t, os.MkdirAll(deep, 0o755))
	for i := range 100 {
		noError(m.t, os.WriteFile(filepath.Join(p.path(), fmt.Sprint("wide", i)), nil, 0o444))
	}
}

// hum has the noisy daemons write.
func (m *model) hum() {
	for _, p := range m.places {
		if p.noisy && p.live && !p.hidden && !p.shelf.covered {
			o := order{Path: filepath.Join(p.path(), "out.log")}
			for range 5 {
				_ = o.logLine()
			}
		}
	}
}

// spoil changes files of a live daemon, and mends them later.
func (m *model) spoil(spoil, mend func(*place)) {
	m.with(living, func(p *place) {
		spoil(p)
		m.later(500, p, func() { mend(p) })
	})
}

// bar takes away all rights to a dir, or file.
func (m *model) bar(of func(*place) string, mode fs.FileMode) {
	m.spoil(func(p *place) { noError(m.t, os.Chmod(of(p), 0)) }, func(p *place) { noError(m.t, os.Chmod(of(p), mode)) })
}

// garbleByLink writes a sidecar through a link elsewhere: no event tells.
func (m *model) garbleByLink() {
	link := filepath.Join(m.base, "aside", strconv.Itoa(m.step))
	m.spoil(func(p *place) {
		noError(m.t, os.Link(p.sidecar(), link))
		noError(m.t, os.WriteFile(link, []byte(`["`+secret), 0o644))
	}, func(p *place) {
		noError(m.t, os.WriteFile(link, p.text, 0o644))
		noError(m.t, os.Remove(link))
	})
}

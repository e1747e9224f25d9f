package watcher

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
)

// pending is what events have reported and the session has not acted on yet.
type pending struct {
	reg   *registry.Registry
	dir   string   // the root with symlinks resolved
	paths []string // see rootPaths

	taken   func() time.Time       // counts an event and returns the time of its arrival
	expects func(name string) bool // whether we have just written this daemon's sidecar

	names *registry.Queue // daemon dirs to read
	ours  *registry.Queue // daemon dirs whose sidecar we have probably written ourselves
	noisy *registry.Queue // daemon dirs to watch by their files
	root  chan struct{}   // one slot: check the root itself
	lost  chan error      // one slot: events were lost, as this says

	noise   noiseCount  // of the drain
	byFiles *nameSet    // see watches
	moved   nameSet     // daemon dirs whose watch may be gone or on another dir
	rearm   atomic.Bool // the root's own watch, or one above it, may be gone
}

func newPending(reg *registry.Registry, dir string, paths []string) *pending {
	return &pending{
		reg:     reg,
		dir:     dir,
		paths:   paths,
		taken:   time.Now,
		expects: func(string) bool { return false },
		names:   registry.NewQueue(),
		ours:    registry.NewQueue(),
		noisy:   registry.NewQueue(),
		root:    make(chan struct{}, 1),
		lost:    make(chan error, 1),
		byFiles: new(nameSet),
	}
}

// drain reads events and errors until fsnotify closes its channels. Each channel has its
// own goroutine: fsnotify sends some errors while it holds the lock that Add and Remove
// need, so errors must not wait until an event has been handled.
func (p *pending) drain(fsn *fsnotify.Watcher) (wait func()) {
	var drains sync.WaitGroup
	drains.Go(func() {
		var r rest
		waiting := time.Now()
		for ev := range fsn.Events {
			came := time.Now()
			time.Sleep(r.after(p.event(ev), waiting, came))
			waiting = time.Now()
		}
	})
	drains.Go(func() {
		for err := range fsn.Errors {
			p.error(err)
		}
	})
	return drains.Wait
}

// event records what must be read because of ev. It reports whether ev was noise: about a
// file that neither we nor a spawn cares about. A spawn hard-links the trampoline, which
// is a Chmod event of the link's target, wherever that is.
func (p *pending) event(ev fsnotify.Event) (noise bool) {
	at := p.taken()
	path := filepath.Clean(ev.Name) // "//runtime" is what a watch on "/" reports
	above := p.above(path, ev.Op)
	rel, inside := strings.CutPrefix(path, p.dir+string(filepath.Separator))
	if !inside {
		return !above && ev.Op != fsnotify.Chmod
	}
	name, file, isFile := strings.Cut(rel, string(filepath.Separator))
	if isFile && !daemondir.Concerns(name, file) {
		noise = strings.TrimSuffix(file, ".exe") != name && ev.Op != fsnotify.Chmod
		if noise && p.noise.add(name, at) {
			p.noisy.Add(strings.Clone(name), time.Time{})
		}
		return noise
	}
	if ev.Op == fsnotify.Chmod {
		// A new mode, owner, time or link count matters only if we were denied permission, or the
		// file itself is watched: it has lost its name, perhaps.
		e, ok := p.reg.Get(name)
		if (!ok || e.Problem != daemondir.ProblemPermission) && !(isFile && p.byFiles.has(name)) {
			return false
		}
	}
	if !isFile && ev.Has(fsnotify.Remove|fsnotify.Rename) && !daemondir.Quarantined(name) {
		p.moved.add(name)
	}
	if isFile && ev.Op == fsnotify.Write && file == daemondir.SidecarName(name) && p.expects(name) {
		p.ours.Add(name, at)
		return false
	}
	p.names.Add(name, at)
	return false
}

// above handles an event on the root itself, or on a directory or symlink that leads to
// it. It returns false for any other path.
func (p *pending) above(path string, op fsnotify.Op) bool {
	for _, rootPath := range p.paths {
		if path != rootPath && !strings.HasPrefix(rootPath, path+string(filepath.Separator)) {
			continue
		}
		if op != fsnotify.Chmod {
			p.setRearm()
		} else {
			signal(p.root)
		}
		return true
	}
	return false
}

// error handles one error of fsnotify. An overflow means lost events, and so may any other
// error except EINVAL: that is fsnotify removing a watch that the kernel has already
// removed, because its dir was renamed away and deleted.
func (p *pending) error(err error) {
	if errors.Is(err, syscall.EINVAL) {
		return
	}
	select {
	case p.lost <- err:
	default:
	}
}

// setRearm records that the root's own watch, or one above it, may be gone.
func (p *pending) setRearm() {
	p.rearm.Store(true)
	signal(p.root)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// A nameSet is a set of names. Any goroutine may use it.
type nameSet struct {
	mu    sync.Mutex // guards names
	names map[string]struct{}
}

func (s *nameSet) add(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names == nil {
		s.names = make(map[string]struct{})
	}
	s.names[name] = struct{}{}
}

func (s *nameSet) has(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.names[name]
	return ok
}

// take removes name, and reports whether it was there.
func (s *nameSet) take(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.names[name]
	delete(s.names, name)
	return ok
}

// all returns the names in no order.
func (s *nameSet) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.names))
}

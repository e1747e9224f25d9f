package watcher

import (
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
)

// pending is what the drain has learned from events and the session has yet to act on.
type pending struct {
	reg   *registry.Registry
	dir   string   // the root with symlinks resolved
	paths []string // see rootPaths

	taken   func() time.Time       // called for each event; returns when it arrived
	expects func(name string) bool // whether a write of our own to that sidecar is expected

	names *registry.Queue // daemon dirs to read
	ours  *registry.Queue // daemon dirs of whose sidecar a write was expected
	root  chan struct{}   // one slot: look at the root itself
	lost  chan struct{}   // one slot: events were lost

	mu    sync.Mutex          // guards moved and rearm
	moved map[string]struct{} // daemon dirs whose watch may be gone or another's
	rearm bool                // the root's own watch may be gone
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
		root:    make(chan struct{}, 1),
		lost:    make(chan struct{}, 1),
		moved:   make(map[string]struct{}),
	}
}

// A daemon that writes a log into its own dir raises an event a line, fsnotify has no way
// to ask for fewer, and each wakes us for 50 to 100 us of processor time. After such
// noise, if it is not the first for a while, the drain rests, and the kernel makes one
// event of what is written to a file meanwhile (inotify(7)). It rests only if it had to
// wait for the event: what is queued comes within some microseconds, and must be read
// lest the queue overflows.
const (
	noisePause = 10 * time.Millisecond
	noiseWait  = 20 * time.Microsecond
)

// drain reads events and errors until fsnotify closes its channels. Each has its
// own goroutine: fsnotify sends some errors while it holds the lock that Add and
// Remove wait for, so whoever reads events must not be the one who reads errors.
func (h *pending) drain(fsn *fsnotify.Watcher) (wait func()) {
	var drains sync.WaitGroup
	drains.Go(func() {
		var noisy time.Time // when the last noise was read, or the rest after it over
		waiting := time.Now()
		for ev := range fsn.Events {
			came := time.Now()
			if h.event(ev) {
				if came.Sub(waiting) >= noiseWait && came.Sub(noisy) < noisePause {
					time.Sleep(noisePause)
				}
				noisy = time.Now()
			}
			waiting = time.Now()
		}
	})
	drains.Go(func() {
		for err := range fsn.Errors {
			h.error(err)
		}
	})
	return drains.Wait
}

// event turns one event into a hint. It reports whether the event was noise: about a file
// that is nothing to us, nor to a spawn. A spawn links the trampoline, and that is a
// Chmod of the file it is a link of, wherever that lies.
func (h *pending) event(ev fsnotify.Event) (noise bool) {
	at := h.taken()
	path := filepath.Clean(ev.Name) // "//runtime" is what a watch on "/" reports
	above := h.above(path, ev.Op)
	rel, inside := strings.CutPrefix(path, h.dir+string(filepath.Separator))
	if !inside {
		return !above && ev.Op != fsnotify.Chmod
	}
	name, file, isFile := strings.Cut(rel, string(filepath.Separator))
	if isFile && !daemondir.Concerns(name, file) {
		return strings.TrimSuffix(file, ".exe") != name && ev.Op != fsnotify.Chmod
	}
	if ev.Op == fsnotify.Chmod {
		// Modes, owners, times and link counts are nothing we look at, unless they kept us
		// from reading.
		if e, ok := h.reg.Get(name); !ok || e.Problem != daemondir.ProblemPermission {
			return false
		}
	}
	if !isFile && ev.Has(fsnotify.Remove|fsnotify.Rename) && !daemondir.Quarantined(name) {
		h.addMoved(name)
	}
	if isFile && ev.Op == fsnotify.Write && file != daemondir.PIDFileName && h.expects(name) {
		h.ours.Add(name, at)
		return false
	}
	h.names.Add(name, at)
	return false
}

// above handles an event on the root itself, or on a directory or a symlink that
// leads to it; of what else happens up there, nothing is ours.
func (h *pending) above(path string, op fsnotify.Op) bool {
	for _, rootPath := range h.paths {
		if path != rootPath && !strings.HasPrefix(rootPath, path+string(filepath.Separator)) {
			continue
		}
		if op != fsnotify.Chmod {
			h.mu.Lock()
			h.rearm = true
			h.mu.Unlock()
		}
		signal(h.root)
		return true
	}
	return false
}

// error handles one error of fsnotify. An overflow means lost events; so may any
// other, but for one: EINVAL is fsnotify removing a watch that the kernel had removed
// before it, of a dir that was renamed away and deleted.
func (h *pending) error(err error) {
	if !errors.Is(err, syscall.EINVAL) {
		signal(h.lost)
	}
}

// addMoved notes that the watch of the daemon dir name may be gone or another's.
func (h *pending) addMoved(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.moved[name] = struct{}{}
}

// takeMoved says whether the watch of the daemon dir name is in doubt, and forgets it.
func (h *pending) takeMoved(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.moved[name]
	delete(h.moved, name)
	return ok
}

func (h *pending) mustRearm() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rearm
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

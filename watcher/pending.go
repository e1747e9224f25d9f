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

// pending is what events have reported and the session has not acted on yet.
type pending struct {
	reg   *registry.Registry
	dir   string   // the root with symlinks resolved
	paths []string // see rootPaths

	taken   func() time.Time       // counts an event and returns the time of its arrival
	expects func(name string) bool // whether we have just written this daemon's sidecar

	names *registry.Queue // daemon dirs to read
	ours  *registry.Queue // daemon dirs whose sidecar we have probably written ourselves
	root  chan struct{}   // one slot: check the root itself
	lost  chan error      // one slot: events were lost, as this says

	mu    sync.Mutex          // guards moved and rearm
	moved map[string]struct{} // daemon dirs whose watch may be gone or on another dir
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
		lost:    make(chan error, 1),
		moved:   make(map[string]struct{}),
	}
}

// A daemon that writes a log into its own dir raises an event per line. fsnotify cannot be
// asked to leave these out, and each costs 50 to 100 us of processor time. So after
// repeated noise the drain sleeps for noisePause, and the kernel merges the writes to one
// file in that time into one event (inotify(7)). Repeated is what comes within noiseGap: a
// sleep that saves fewer than two events costs more than they do. It sleeps only if it had to
// wait at least noiseWait for the event: events that are already queued arrive within
// microseconds, and must be read at once, or the kernel's queue overflows.
//
// The kernel merges an event only with the one before it, so writes to two files by turns
// fill the queue. When so many events have come in a pause that it would be noiseQueued in
// noisePause, the drain does not sleep for noiseAwake, and twice as long each time that this
// happens again. It begins with short pauses, which fill little of the queue.
const (
	noisePause  = 10 * time.Millisecond
	noiseGap    = noisePause / 2
	noiseWait   = 20 * time.Microsecond
	noiseTry    = noisePause / 10 // the first pause; they double
	noiseQueued = 256             // of the 16,384 that Linux keeps by default
	noiseAwake  = time.Second
	noiseLimit  = time.Minute // of noiseAwake
)

// A rest decides when the drain sleeps. It is for one goroutine.
type rest struct {
	noisy  time.Time     // when the last noise came, or the sleep after it ended
	pause  time.Duration // the last sleep
	queued int           // events since the last sleep that were queued when the drain came
	until  time.Time     // no sleep before then
	awake  time.Duration // how long that was
}

// after returns how long to sleep after an event that came at that time, when the drain had
// been waiting since then.
func (r *rest) after(noise bool, waiting, came time.Time) (sleep time.Duration) {
	repeated := came.Sub(r.noisy) < noiseGap
	if noise {
		r.noisy = came
	}
	if came.Sub(waiting) < noiseWait {
		if r.queued++; r.queued == r.most() {
			r.awake = min(max(2*r.awake, noiseAwake), noiseLimit)
			r.until = came.Add(r.awake)
		}
		return 0
	}
	if !noise || !repeated || came.Before(r.until) {
		return 0
	}
	if r.queued < r.most() {
		r.awake /= 2
		r.pause = min(max(2*r.pause, noiseTry), noisePause)
	} else {
		r.pause = noiseTry
	}
	r.queued = 0
	r.noisy = came.Add(r.pause)
	return r.pause
}

// most is how many events may come in the last sleep, or else they fill the queue.
func (r *rest) most() int { return int(noiseQueued * max(r.pause, noiseTry) / noisePause) }

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
		return strings.TrimSuffix(file, ".exe") != name && ev.Op != fsnotify.Chmod
	}
	if ev.Op == fsnotify.Chmod {
		// A new mode, owner, time or link count matters only if we were denied permission.
		if e, ok := p.reg.Get(name); !ok || e.Problem != daemondir.ProblemPermission {
			return false
		}
	}
	if !isFile && ev.Has(fsnotify.Remove|fsnotify.Rename) && !daemondir.Quarantined(name) {
		p.addMoved(name)
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

// addMoved records that the watch of the daemon dir name may be gone or on another dir.
func (p *pending) addMoved(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moved[name] = struct{}{}
}

// takeMoved reports whether addMoved was called for name since the last call.
func (p *pending) takeMoved(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.moved[name]
	delete(p.moved, name)
	return ok
}

// setRearm records that the root's own watch, or one above it, may be gone.
func (p *pending) setRearm() {
	p.mu.Lock()
	p.rearm = true
	p.mu.Unlock()
	signal(p.root)
}

func (p *pending) mustRearm() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rearm
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

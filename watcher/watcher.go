// Package watcher keeps a registry equal to the runtime root on disk.
//
// It is the only user of fsnotify and the only writer of the registry. An event is
// never taken at its word: it is a hint that names a daemon dir, which is then read
// anew and put into the registry, or deleted from it. So a lost, repeated or late
// event can at worst cost a read.
//
// One goroutine drains fsnotify into a set of names, another works the set off; a
// burst coalesces by itself, and the kernel's queue stays empty. Only between events that
// are nothing to us does the drain rest (see noisePause). The work is done in
// sessions: a session is the time for which the root is one and the same directory,
// or is missing. It ends when the root's identity changes or events were lost, and
// [Watcher.Run] begins the next one with a new fsnotify instance and a new scan.
//
//	watcher.go   options, the root's states, one session after the other
//	session.go   one session: the loop that reads what hints name
//	pending.go   the drain: events and errors of fsnotify become hints
//	expected.go  our own writes, which need no reading
//	watches.go   which dirs are watched, and which are polled because they cannot be
//	paths.go     the paths at which a change can make the root another directory
//	scan.go      reading the whole root once; scandir.go: one dir of it
//	totals.go    what was seen, counted for whoever asks
package watcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
)

// The intervals used when Options leave them zero.
const (
	// DefaultPollInterval: a tenth of the original collector's 300 s, and only for what
	// cannot be watched.
	DefaultPollInterval = 30 * time.Second
	// DefaultCheckInterval: as often as the original collector looks at anything.
	DefaultCheckInterval = 5 * time.Minute
)

// Options configure a [Watcher]. Registry is required.
type Options struct {
	Registry *registry.Registry // of the root to be watched; the watcher writes it while it runs
	Log      zerolog.Logger     // the zero value is silent

	// PollInterval is the time between two reads of what cannot be watched; 0:
	// DefaultPollInterval.
	PollInterval time.Duration

	// CheckInterval is the time between two looks whether the root is still the
	// directory that is watched: no event tells that a parent of its parent was renamed,
	// or replaced if it is a symlink, or that its file system was unmounted. 0:
	// DefaultCheckInterval.
	CheckInterval time.Duration
}

// A Lock makes this process the only one that serves root, until release is called.
type Lock = func(root string) (release func(), err error)

// A Watcher watches one root. Make it with [New].
type Watcher struct {
	opts Options
	root string           // absolute and clean; a symlink in it is followed anew by each session
	reg  *registry.Writer // while it runs

	eventless func(path string) string // eventlessType, but in tests
	onSession func(*session)           // called, if not nil, as each session begins: for tests

	ran   atomic.Bool
	ready chan struct{} // closed once the root has been looked at
	pings chan struct{}

	lockRoot   Lock      // nil: the root need not be locked
	last       rootState // what the last session served
	release    func()    // gives back the lock on the root; nil: not locked
	degraded   bool      // watch.degraded was logged, watch.restored not yet
	overflowed bool      // events.overflow was logged, registry.resynced not yet

	counters
}

// New returns a watcher; nothing runs and nothing is read before [Watcher.Run].
func New(opts Options) (*Watcher, error) {
	if err := opts.Registry.Check(); err != nil {
		return nil, fmt.Errorf("watcher: %w", err)
	}
	if opts.PollInterval < 0 || opts.CheckInterval < 0 {
		return nil, errors.New("watcher: intervals must not be negative")
	}
	opts.PollInterval = cmp.Or(opts.PollInterval, DefaultPollInterval)
	opts.CheckInterval = cmp.Or(opts.CheckInterval, DefaultCheckInterval)
	return &Watcher{
		opts: opts, root: opts.Registry.Root(), eventless: eventlessType,
		ready: make(chan struct{}), pings: make(chan struct{}),
	}, nil
}

// ErrRan says that a watcher has run before. Make a new one.
var ErrRan = errors.New("a watcher runs once")

// Run watches until ctx is done and then returns nil. A root that does not exist is
// waited for. One that is refused, unreadable or no directory is an error; if it becomes
// so later, it counts as lost. So is a second Run ([ErrRan]), and a registry that another
// watcher writes ([registry.ErrWritten]).
func (w *Watcher) Run(ctx context.Context) error { return w.RunLocked(ctx, nil) }

// RunLocked is Run with a lock: it is taken before a root that was found is scanned, and
// released when the root is lost or RunLocked returns. Its error ends RunLocked, unless
// the root is gone by then.
func (w *Watcher) RunLocked(ctx context.Context, lock Lock) error {
	if !w.ran.CompareAndSwap(false, true) {
		return ErrRan
	}
	var err error
	if w.reg, err = w.opts.Registry.Write(); err != nil {
		return err
	}
	defer w.reg.Close()
	w.lockRoot = lock
	if first := lookAt(w.root); first.err != nil {
		return first.err
	}
	defer w.unlock()
	for ctx.Err() == nil {
		s := w.newSession()
		if w.onSession != nil {
			w.onSession(s)
		}
		err := s.serve(ctx)
		s.end()
		if err != nil {
			return err
		}
	}
	return nil
}

// Registry returns the registry that the watcher writes.
func (w *Watcher) Registry() *registry.Registry { return w.opts.Registry }

// Ready is closed once the root has been read, or is found missing and waited for.
func (w *Watcher) Ready() <-chan struct{} { return w.ready }

// isReady makes Ready known.
func (w *Watcher) isReady() {
	select {
	case <-w.ready:
	default:
		close(w.ready)
	}
}

// Ping returns nil when the loop of Run answers, also in the course of a long scan, or
// the error of ctx when that is done first: for a watchdog. Any goroutine may call it.
func (w *Watcher) Ping(ctx context.Context) error {
	select {
	case w.pings <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rootState is what stands at the root's path: nothing (the zero state), something
// that cannot be served (err), or a directory (info).
type rootState struct {
	info fs.FileInfo
	err  error
	seen bool // set by the first session
}

func (s rootState) found() bool { return s.info != nil }

func (s rootState) same(o rootState) bool {
	if s.found() != o.found() {
		return false
	}
	return !s.found() || os.SameFile(s.info, o.info)
}

// lookAt says what stands at root now.
func lookAt(root string) rootState {
	info, err := os.Stat(root)
	if err == nil {
		err = daemondir.CheckRoot(root)
	}
	if err == nil {
		err = readable(root)
	}
	switch {
	case err == nil:
		return rootState{info: info, seen: true}
	case errors.Is(err, fs.ErrNotExist):
		return rootState{seen: true}
	default:
		return rootState{err: err, seen: true}
	}
}

// readable returns an error unless root can be listed and what is in it be reached.
func readable(root string) error {
	f, err := os.Open(root)
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		return nil // we are out of descriptors, the root is as it was
	}
	if err != nil {
		return fmt.Errorf("reading root: %w", err)
	}
	defer f.Close()
	if _, err := os.Lstat(root + string(filepath.Separator) + "."); err != nil {
		return fmt.Errorf("searching root: %w", err)
	}
	return nil
}

// enter notes the state that a session serves and logs what changed. What stood in a
// root that is gone is gone from the registry, too.
func (w *Watcher) enter(state rootState) {
	was := w.last
	w.last = state
	if was.seen && was.same(state) {
		return
	}
	event := func(e *zerolog.Event, name string) *zerolog.Event {
		if state.err != nil {
			e = e.Err(state.err)
		}
		return e.Str("event", name).Str("dir", daemondir.Printable(w.root))
	}
	if was.found() {
		event(w.opts.Log.Warn(), "root.lost").Msg("runtime root is gone")
		for _, name := range w.opts.Registry.Names() {
			w.reg.Delete(name)
		}
		w.unlock()
	}
	switch {
	case state.found():
		event(w.opts.Log.Info(), "root.found").Msg("runtime root found")
	case !was.seen:
		event(w.opts.Log.Info(), "root.missing").Msg("waiting for the runtime root to be made")
	}
}

// lock takes the lock on the root, unless it is held: a session that serves the root
// of the last one goes on with its lock.
func (w *Watcher) lock() error {
	if w.lockRoot == nil || w.release != nil {
		return nil
	}
	release, err := w.lockRoot(w.root)
	if err == nil {
		w.release = release
	}
	return err
}

func (w *Watcher) unlock() {
	if w.release != nil {
		w.release()
		w.release = nil
	}
}

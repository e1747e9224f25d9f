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
//	watcher.go  options, the root's states, one session after the other
//	session.go  one session: the loop that works hints off
//	hints.go    the drain: events and errors of fsnotify become hints
//	notes.go    our own writes, which need no reading
//	watches.go  which dirs are watched, and which are polled because they cannot be
//	ways.go     the paths at which a change can make the root another directory
//	scan.go     reading the whole root once; scandir.go: one dir of it
//	tally.go    what was seen, counted for whoever asks
package watcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

// Options configure a [Watcher]. Root and Registry are required.
type Options struct {
	Root     string             // the runtime root; it need not exist
	Registry *registry.Registry // nobody else may write it
	Log      zerolog.Logger     // the zero value is silent

	// PollInterval is the time between two reads of what cannot be watched; 0:
	// DefaultPollInterval.
	PollInterval time.Duration

	// CheckInterval is the time between two looks whether the root is still the
	// directory that is watched: no event tells that a parent of its parent was renamed,
	// or replaced if it is a symlink, or that its file system was unmounted. 0:
	// DefaultCheckInterval.
	CheckInterval time.Duration

	// Lock, if not nil, is called before a root that was found is scanned, and release
	// when it is lost or Run ends. An error ends Run, unless the root is gone by then.
	Lock func(root string) (release func(), err error)

	// Timed has the registry's queue of changes say when the event behind each was taken in.
	Timed bool

	// Busy, if not nil, is called with true before many dirs are read in a row, as in a scan
	// or after a burst of events, and with false when that is over.
	Busy func(bool)

	// Scanned, if not nil, is called after the first complete scan of a root that was
	// found, and again after the scan that follows lost events.
	Scanned func()

	// Ready, if not nil, is called each time that the root has been looked at, and read if
	// it is there, and the watcher begins to wait for what happens to it.
	Ready func()

	// Ping, if not nil, is received from as long as Run is not stuck, in the course of a
	// long scan as well: for a watchdog.
	Ping <-chan struct{}
}

// A Watcher watches one root. Make it with [New].
type Watcher struct {
	opts Options
	root string // absolute and clean; a symlink in it is followed anew by each session

	eventless func(path string) string // eventlessType, but in tests

	notes *notes // of our own writes

	last       rootState // what the last session served
	release    func()    // gives back the lock on the root; nil: not locked
	degraded   bool      // watch.degraded was said, watch.restored not yet
	overflowed bool      // events.overflow was said, registry.resynced not yet

	tally
}

// New returns a watcher; nothing runs and nothing is read before [Watcher.Run].
func New(opts Options) (*Watcher, error) {
	if opts.Root == "" || opts.Registry == nil {
		return nil, errors.New("watcher: Root and Registry are required")
	}
	if opts.PollInterval < 0 || opts.CheckInterval < 0 {
		return nil, errors.New("watcher: intervals must not be negative")
	}
	if opts.PollInterval == 0 {
		opts.PollInterval = DefaultPollInterval
	}
	if opts.CheckInterval == 0 {
		opts.CheckInterval = DefaultCheckInterval
	}
	root, err := filepath.Abs(opts.Root)
	if err != nil {
		return nil, fmt.Errorf("resolving root: %w", err)
	}
	return &Watcher{opts: opts, root: root, eventless: eventlessType, notes: newNotes()}, nil
}

// Run watches until ctx is done and then returns nil. A root that does not exist is
// waited for. One that is refused, unreadable, no directory, or locked by another
// collector is an error; if it becomes so later, but for the lock, it counts as lost.
func (w *Watcher) Run(ctx context.Context) error {
	if first := lookAt(w.root); first.err != nil {
		return first.err
	}
	defer w.unlock()
	for ctx.Err() == nil {
		s := w.newSession()
		err := s.serve(ctx)
		s.end()
		if err != nil {
			return err
		}
	}
	return nil
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
			w.remove(name)
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
	if w.opts.Lock == nil || w.release != nil {
		return nil
	}
	release, err := w.opts.Lock(w.root)
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

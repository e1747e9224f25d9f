// Package watcher keeps a registry equal to the runtime root on disk.
//
// It is the only user of fsnotify and the only writer of the registry. An event only says
// which daemon dir to read: the registry is updated from what that read finds. So a
// repeated or late event costs no more than a read.
//
// One goroutine drains fsnotify into a set of names, and another reads the dirs of that
// set. So a burst of events for one dir costs few reads, and the kernel's queue stays
// empty. A dir in which other files are written all the time is watched by its sidecar and pid
// file instead; the drain pauses only after events that do not concern us (see noise.go).
//
// A watcher runs in sessions. A session lasts as long as the root is the same directory,
// or is missing. It ends when that changes or events were lost, and [Watcher.Run] begins
// the next one with a new fsnotify instance and a new scan.
//
//	watcher.go  options, the states of the root, one session after the other
//	session.go  one session: the loop that reads the pending dirs
//	pending.go  the drain: which dirs to read because of fsnotify's events and errors
//	noise.go    events about files that are nothing to us
//	watches.go  which dirs are watched, and which are polled because they cannot be
//	polls.go    when each of these is looked at; polling.go: looking; births_*.go: at processes
//	resync.go   when the root is read again after events were lost
//	stall.go    noticing that a file system does not answer
//	paths.go    where to find the root: it may be missing, and it may be a symlink
//	scan.go     reading the whole root, or one dir in it, once
//	totals.go   counters, for metrics
package watcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
)

// The intervals used when Options leave them zero.
const (
	// DefaultPollInterval lets a birth be noticed within 2 s, whatever cannot be watched.
	DefaultPollInterval = time.Second
	// DefaultCheckInterval is the original collector's interval.
	DefaultCheckInterval = 5 * time.Minute
)

// Options configure a [Watcher]. Registry is required.
type Options struct {
	Registry *registry.Registry // of the root to be watched; the watcher writes it while it runs
	Log      zerolog.Logger     // the zero value is silent

	// PollInterval is the time between two looks at a dir that cannot be watched and has not
	// changed for long. With many such dirs it is longer, so that all looks take at most 1% of
	// a processor. One that is new, or has lately changed, is looked at more often.
	// 0: DefaultPollInterval.
	PollInterval time.Duration

	// CheckInterval is the time between two checks that the root still is the directory
	// that is watched. No event reports that a directory above its parent was renamed, that
	// a symlink there was replaced, or that its file system was unmounted.
	// 0: DefaultCheckInterval.
	CheckInterval time.Duration
}

// A Lock makes this process serve root, in a role that the log names, until release is called.
type Lock = func(root string) (role string, release func(), err error)

// A Watcher watches one root. Make it with [New].
type Watcher struct {
	opts Options
	root string           // absolute and clean; each session resolves the symlinks in it
	reg  *registry.Writer // while it runs

	eventless func(path string) string // networkType, except in tests
	onSession func(*session)           // if not nil, called at the start of each session: for tests

	ran   atomic.Bool
	pings chan struct{}
	stall stall

	ready    chan struct{} // see Ready
	setReady func()        // closes ready, once

	lockRoot Lock          // nil: the root is not locked
	last     rootState     // of the last session
	release  func()        // releases the lock on the root; nil: it is not held
	lockWait time.Duration // the last pause before a try to take the lock; 0: it was taken
	role     string        // that came with the lock
	degraded bool          // watch.degraded was logged, watch.restored not yet
	synced   bool          // the followers were told that the registry is equal to this root
	resync   resync

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
	ready := make(chan struct{})
	w := &Watcher{
		opts: opts, root: opts.Registry.Root(), eventless: networkType, pings: make(chan struct{}),
		ready: ready, setReady: sync.OnceFunc(func() { close(ready) }),
	}
	w.stall = stall{limit: stallTime, onStall: w.logStall, onAnswer: w.logAnswer}
	return w, nil
}

// ErrRan is returned by a second Run of the same watcher.
var ErrRan = errors.New("a watcher can run only once")

// Run watches until ctx is done, and then returns nil. It waits for a root that does not
// exist. It is an error if the root is refused, unreadable or no directory at the start;
// if this happens later, the root counts as lost. The error may also be [ErrRan], or
// [registry.ErrWritten] if another watcher writes the registry.
func (w *Watcher) Run(ctx context.Context) error { return w.RunLocked(ctx, nil) }

// RunLocked is Run with a lock, which is taken before a root is scanned, and released when
// the root is lost or RunLocked returns. If the lock fails at the start, and still does a
// second later, RunLocked returns its error, unless the root has disappeared. If it fails for a
// root that is found later, that is logged, and tried again.
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
	defer w.stall.end()
	w.stall.begin()
	if first := inspectRoot(w.root); first.err != nil {
		return first.err
	}
	defer w.unlock()
	for ctx.Err() == nil {
		w.stall.begin()
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

// Ready is closed when the root has been read, or is missing and is being waited for, or its
// file system does not answer.
func (w *Watcher) Ready() <-chan struct{} { return w.ready }

// Ping returns nil when the loop of Run answers, which it does even during a long scan, or
// is known to wait for a file system that does not answer. It returns the error of ctx if that
// ends first. It is for a watchdog; any goroutine may call it.
func (w *Watcher) Ping(ctx context.Context) error {
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		select {
		case w.pings <- struct{}{}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-again.C:
			// A new process would wait for the same file system.
			if w.stall.now() {
				return nil
			}
		}
	}
}

// noAnswer is the reason of watch.degraded and watch.restored of a stall.
const noAnswer = "no_answer"

func (w *Watcher) logStall() {
	w.event(w.opts.Log.Warn(), "watch.degraded", rootState{}).Str("reason", noAnswer).
		Msg("the file system of the runtime root does not answer; waiting")
	w.setReady()
}

func (w *Watcher) logAnswer() {
	w.event(w.opts.Log.Info(), "watch.restored", rootState{}).Str("reason", noAnswer).
		Msg("the file system of the runtime root answers again")
}

// rootState is what was found at the root's path: nothing, something that cannot be served
// (err), or a directory (info).
type rootState struct {
	info fs.FileInfo
	err  error
	seen bool // false before the first session
}

func (s rootState) found() bool { return s.info != nil }

func (s rootState) same(o rootState) bool {
	if s.found() != o.found() {
		return false
	}
	return !s.found() || os.SameFile(s.info, o.info)
}

func inspectRoot(root string) rootState {
	info, err := os.Stat(root)
	if err == nil || errors.Is(err, fs.ErrNotExist) { // on Windows also of one below a file
		err = cmp.Or(daemondir.CheckRoot(root), err)
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

// readable returns an error unless root can be listed and searched.
func readable(root string) error {
	f, err := daemondir.OpenList(root)
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		return nil // we are out of descriptors; this says nothing about the root
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

// leave ends the service of the last session's root, unless state is the same: it logs that,
// deletes the entries from the registry, and releases the lock.
func (w *Watcher) leave(state rootState) {
	if !w.last.found() || w.last.same(state) {
		return
	}
	w.event(w.opts.Log.Warn(), "root.lost", state).Msg("runtime root is gone")
	for _, name := range w.opts.Registry.Names() {
		w.reg.Delete(name)
	}
	w.unlock()
	w.last = rootState{seen: true}
}

// enter begins to serve state, and logs it unless the last session had the same. A root that
// was found is locked already.
func (w *Watcher) enter(state rootState) {
	was := w.last
	w.last = state
	if was.seen && was.same(state) {
		return
	}
	w.synced, w.resync.distance = false, 0
	switch {
	case state.found():
		found := w.event(w.opts.Log.Info(), "root.found", state)
		if w.role != "" {
			found = found.Str("role", w.role)
		}
		found.Msg("runtime root found")
	default:
		w.event(w.opts.Log.Info(), "root.missing", state).Msg("waiting for the runtime root to be created")
	}
}

// event begins a line about the root.
func (w *Watcher) event(e *zerolog.Event, name string, state rootState) *zerolog.Event {
	if state.err != nil {
		e = e.Err(state.err)
	}
	return e.Str("event", name).Str("dir", daemondir.Printable(w.root))
}

// lock takes the lock on the root, unless the last session had the same root and lock.
func (w *Watcher) lock() error {
	if w.lockRoot == nil || w.release != nil {
		return nil
	}
	role, release, err := w.lockRoot(w.root)
	if err == nil {
		w.role, w.release = role, release
	}
	return err
}

func (w *Watcher) unlock() {
	if w.release != nil {
		w.release()
		w.role, w.release = "", nil
	}
}

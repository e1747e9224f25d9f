// Package prune decides what happens to daemon dirs, and does it.
//
// It reads the registry and never writes it: the watcher sees its changes on disk as events.
// [Collector.Run] runs a watcher and collects what that finds. It judges each new or changed
// entry at once. At intervals it sweeps over all entries: it refreshes the sidecars of live
// daemons and removes the dirs of those that have been dead for long enough. It never lists
// the root. [Collector.Sweep] makes a single pass after a scan.
//
// A pass judges all entries at the same time now, and plans a list of items to carry out. In
// Run, two goroutines share this work. The observer owns what is known of each daemon: it
// logs births, exits and changes, makes the plan, and never writes to a daemon dir. The
// worker carries out the items one after the other, and reports the outcome of each. So a
// slow disk does not delay the notice of births and exits. A single pass has several workers
// if there is much to remove.
//
// Times are milliseconds since the Unix epoch, as in sidecars. A value that could not be
// determined is not Known. No file here has a build tag: what differs between systems is in
// the internal packages.
//
//	collector.go  options, and the methods that any goroutine may call
//	run.go        the observer's loop; request.go: sweeps on request
//	sweep.go      the single pass
//	observer.go   what is known of each daemon, and what has been logged about it; invalid.go:
//	              sidecars that cannot be used
//	plan.go       one pass: judging all entries, and planning what to do; size.go: how large
//	              what it removes is
//	apply.go      the worker, which carries out the plan; account.go: its outcomes
//	exits.go      having the exits of live daemons announced; ending.go: how they have ended
//	protect.go    what is never removed
//	judge.go      the rule: states, decisions; reasons.go: the table of reasons
//	liveness.go   is a daemon's process alive?
//	shared.go     what a pid proves: shared roots, and /proc of another pid namespace
//	refresh.go    setting last_seen_unix_ms, under a lease
//	remove.go     removal, step by step; protections.go: the checks before it; users.go: who
//	              uses what; empty.go: the last step
//	leftover.go   what an interrupted removal left; return.go: what was put back
//	explain.go    each check of one dir, and its outcome
//	lock.go       one collector per root, and followers elsewhere
//	log.go        every line that is logged; trace.go and totals.go: for metrics
//	internal/proc, internal/fsys  processes and the file system
package prune

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"runtimegc/prune/internal/proc"
	"runtimegc/registry"
)

const (
	// DefaultStaleAfter and DefaultSweepInterval are the original collector's.
	DefaultStaleAfter    = 6 * time.Hour
	DefaultSweepInterval = 5 * time.Minute
)

// Options configure a [Collector]. Registry is required.
type Options struct {
	Registry *registry.Registry // of the root to collect; a watcher or a scan fills it
	Log      zerolog.Logger     // the zero value is silent

	StaleAfter    time.Duration // 0: DefaultStaleAfter
	SweepInterval time.Duration // 0: DefaultSweepInterval
	DryRun        bool          // open nothing for writing; log what would be done

	// InvalidAfter is how long a dir without a usable sidecar, or whose sidecar has no
	// timestamp, must not have been written before it is removed. 0: it is left alone.
	InvalidAfter time.Duration

	// SharedRoot says whether daemons of the root may run elsewhere; empty: SharedAuto. In a
	// shared root, a daemon without a process here is dead only if a collector has seen it
	// alive since it was spawned.
	SharedRoot SharedRoot

	// Protect are patterns in the syntax of [path.Match]. A dir whose name matches one of
	// them is never removed. See CheckPattern.
	Protect []string

	// OnRole, if not nil, is called by Run, before anything else is logged or done in the root,
	// with the role that it has got there, and again when that changes. It must not block. The
	// role of a dry run is empty.
	OnRole func(Role)

	// Trace, if not nil, is called for each [TraceEvent], in order, on its own goroutine.
	Trace func(TraceEvent)
}

// Settings are the times that can change while a collector runs. Both must be positive.
type Settings struct {
	StaleAfter    time.Duration
	SweepInterval time.Duration
}

func (s Settings) validate() error {
	if s.StaleAfter <= 0 || s.SweepInterval <= 0 {
		return fmt.Errorf("prune: stale-after %v and sweep interval %v must both be positive", s.StaleAfter, s.SweepInterval)
	}
	return nil
}

// A Collector collects one root. Make it with [New]. Any goroutine may call its methods;
// Run and Sweep exclude each other ([ErrBusy]).
type Collector struct {
	reg    *registry.Registry
	root   string // absolute
	log    zerolog.Logger
	dryRun bool
	prober
	invalidAfter  time.Duration
	sharedRoot    SharedRoot
	loggedForeign atomic.Bool // proc.foreign was logged
	onRole        func(Role)
	trace         func(TraceEvent)

	pings        chan struct{}
	timesChanged chan struct{} // one slot
	sweepNow     chan struct{} // one slot
	requests     chan *request
	totals       totals
	endings      endings
	lock         rootLock

	busy       atomic.Bool   // Run or Sweep is running
	stuckAfter time.Duration // stuckTime, except in tests

	reached func(step string) // of each remover, for tests

	mu      sync.Mutex // guards times and protect
	times   Settings
	protect []string // patterns
}

// New returns a collector. The error says what is wrong with opts.
func New(opts Options) (*Collector, error) {
	if err := opts.Registry.Check(); err != nil {
		return nil, fmt.Errorf("prune: %w", err)
	}
	if opts.InvalidAfter < 0 {
		return nil, fmt.Errorf("prune: invalid-after %v must not be negative", opts.InvalidAfter)
	}
	times := Settings{
		StaleAfter:    cmp.Or(opts.StaleAfter, DefaultStaleAfter),
		SweepInterval: cmp.Or(opts.SweepInterval, DefaultSweepInterval),
	}
	if err := times.validate(); err != nil {
		return nil, err
	}
	sharedRoot := cmp.Or(opts.SharedRoot, SharedAuto)
	if err := sharedRoot.validate(); err != nil {
		return nil, err
	}
	c := &Collector{
		reg: opts.Registry, root: opts.Registry.Root(), log: opts.Log, dryRun: opts.DryRun,
		prober: prober{now: time.Now, clock: proc.NewClock(), scope: new(atomic.Pointer[scope])},
		onRole: opts.OnRole, trace: opts.Trace, invalidAfter: opts.InvalidAfter, sharedRoot: sharedRoot,
		times: times, pings: make(chan struct{}), timesChanged: make(chan struct{}, 1),
		sweepNow: make(chan struct{}, 1), requests: make(chan *request), stuckAfter: stuckTime,
	}
	if err := c.SetProtect(opts.Protect); err != nil {
		return nil, err
	}
	first := scope{foreign: proc.Foreign()}
	first.shared, first.because = sharedRoot.decide(c.root)
	c.prober.scope.Store(&first)
	return c, nil
}

// SetTimes changes the times, beginning with the next sweep. If one of them is not positive,
// it returns an error and changes nothing.
func (c *Collector) SetTimes(s Settings) error {
	if err := s.validate(); err != nil {
		return err
	}
	c.mu.Lock()
	c.times = s
	c.mu.Unlock()
	select {
	case c.timesChanged <- struct{}{}:
	default:
	}
	return nil
}

// SweepNow asks Run for a sweep before the interval has passed, and does not wait for it.
func (c *Collector) SweepNow() {
	select {
	case c.sweepNow <- struct{}{}:
	default: // a sweep is due already
	}
}

// Times returns the times in effect.
func (c *Collector) Times() Settings {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.times
}

// Ping returns nil when the observer's loop in Run answers, which does not depend on the
// worker, or the error of ctx if that ends first. It is for a watchdog.
func (c *Collector) Ping(ctx context.Context) error {
	select {
	case c.pings <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ErrBusy says that Run or Sweep of the same collector is running.
var ErrBusy = errors.New("prune: the collector is running")

func (c *Collector) path(name string) string { return filepath.Join(c.root, name) }

// Registry returns the registry that is collected.
func (c *Collector) Registry() *registry.Registry { return c.reg }

// Package prune decides what becomes of daemon dirs, and does it.
//
// It reads the registry and never writes it: what it changes on disk comes back as an
// event. [Collector.Run] runs a watcher and collects what it finds: it judges each new or
// changed entry at once, and sweeps over all of them at intervals: it refreshes the
// sidecars of live daemons and removes the dirs of those that have been dead for long
// enough. It never lists the root. [Collector.Sweep] makes a single pass after a scan.
//
// A pass is a plan that is carried out: all entries are judged on one and the same now,
// and what is to be done is a list of items. In Run two goroutines share the work. The
// observer owns what is known of each daemon; it logs births, exits and changes, makes the
// plan, and never writes to a daemon dir. The worker carries the items out, one after the
// other, and reports what came of each. So a slow disk delays no notice.
//
// Times are milliseconds since the Unix epoch, as they stand in sidecars; what could not be
// found out is a value that is not Known. No file here has a build tag: what is different
// on each system is in the packages below internal.
//
//	collector.go  options, and what any goroutine may ask or change
//	run.go        the observer's loop, and the single pass
//	observer.go   what is known of each daemon
//	plan.go       one pass: all judged, and what is to be done
//	apply.go      the worker: carrying a plan out; account.go: what came of it
//	judge.go      the one rule: states, decisions; reasons.go: the one table of reasons
//	liveness.go   is a daemon's process alive?
//	refresh.go    last_seen_unix_ms, under a lease
//	remove.go     removal, step by step; leftover.go: what an interrupted one left
//	explain.go    each check of one dir, and its outcome
//	lock.go       one collector per root
//	log.go        every line that is logged; trace.go and totals.go: for whoever counts
//	internal/proc, internal/fsys  what the system is asked, and made to do
package prune

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
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
	Registry *registry.Registry // of the root to be collected; a watcher or a scan fills it
	Log      zerolog.Logger     // the zero value is silent

	StaleAfter    time.Duration // 0: DefaultStaleAfter
	SweepInterval time.Duration // 0: DefaultSweepInterval
	DryRun        bool          // open nothing for writing; log what would be done

	// Protect are patterns in the syntax of [path.Match]: a dir whose name one of them
	// matches is never removed. See CheckPattern.
	Protect []string

	// Trace, if not nil, is called for each thing that is noticed or done, in order and on
	// a goroutine of its own: see [TraceEvent].
	Trace func(TraceEvent)
}

// Settings are the times that may change while a collector runs. Both must be positive.
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
	protects patterns
	trace    func(TraceEvent)

	pings        chan struct{}
	timesChanged chan struct{} // one slot
	sweepNow     chan struct{} // one slot
	totals       totals
	lock         rootLock

	mu    sync.Mutex // guards times and busy
	times Settings
	busy  bool // Run or Sweep is under way
}

// New returns a collector that has not looked at anything yet. The error says what is
// wrong with opts.
func New(opts Options) (*Collector, error) {
	if err := opts.Registry.Check(); err != nil {
		return nil, fmt.Errorf("prune: %w", err)
	}
	times := Settings{
		StaleAfter:    cmp.Or(opts.StaleAfter, DefaultStaleAfter),
		SweepInterval: cmp.Or(opts.SweepInterval, DefaultSweepInterval),
	}
	if err := times.validate(); err != nil {
		return nil, err
	}
	for _, pattern := range opts.Protect {
		if err := CheckPattern(pattern); err != nil {
			return nil, fmt.Errorf("prune: Protect: %w", err)
		}
	}
	c := &Collector{
		reg: opts.Registry, root: opts.Registry.Root(), log: opts.Log, dryRun: opts.DryRun,
		prober: prober{now: time.Now, clock: proc.NewClock()}, protects: opts.Protect, trace: opts.Trace,
		times: times, pings: make(chan struct{}), timesChanged: make(chan struct{}, 1),
		sweepNow: make(chan struct{}, 1),
	}
	c.lock.init()
	return c, nil
}

// SetTimes changes the times, from the next sweep on. The error says that one of them is
// not positive; then nothing changes.
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

// SweepNow asks Run for a sweep before the interval is over, and does not wait for it.
func (c *Collector) SweepNow() {
	select {
	case c.sweepNow <- struct{}{}:
	default: // one is asked for already
	}
}

// Times returns the times in effect.
func (c *Collector) Times() Settings {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.times
}

// Ping returns nil when the observer's loop of Run answers, whatever the worker is doing,
// or the error of ctx when that is done first: for a watchdog.
func (c *Collector) Ping(ctx context.Context) error {
	select {
	case c.pings <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ErrBusy says that Run or Sweep of the same collector is under way.
var ErrBusy = errors.New("prune: the collector is running")

// begin makes the caller the only one that runs, until end is called.
func (c *Collector) begin() (end func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy {
		return nil, ErrBusy
	}
	c.busy = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.busy = false
	}, nil
}

func (c *Collector) path(name string) string { return filepath.Join(c.root, name) }

// Registry returns the registry that is collected.
func (c *Collector) Registry() *registry.Registry { return c.reg }

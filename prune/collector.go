// Package prune decides what becomes of daemon dirs, and does it.
//
// It reads the registry and never writes it: what it changes on disk comes back as an
// event. A [Collector] judges each new or changed entry at once, and sweeps over all
// of them at intervals: it refreshes the sidecars of live daemons and removes the dirs
// of those that have been dead for long enough. It never lists the root.
//
// The package can be embedded in another daemon, with a watcher or after a single
// scan; the examples show how. Times are milliseconds since the Unix epoch, as they
// stand in sidecars; what was not to be found out is a value that is not Known.
//
//	policy.go     the one judge: states, decisions, reasons
//	protect.go    names that are never removed
//	liveness.go   probing a process; gopsutil
//	exits_*.go    the exit of a live daemon, at once (Linux)
//	refresh.go    last_seen_unix_ms, under a lease (lease_*.go)
//	remove.go     removal, step by step; inuse.go and mounts_*.go are two of its questions,
//	              tree_*.go is what it empties a dir by
//	lock.go       one collector per root
//	collector.go  what is known of each daemon, and what is said of it
//	sweep.go      one pass over the registry
//	report.go     what list and prune print
//	explain.go    each question about one dir, and its answer; words.go: the reasons in words
//	tally.go      what was seen and done, counted for whoever asks
package prune

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
)

const (
	// DefaultStaleAfter and DefaultSweepInterval are the original collector's.
	DefaultStaleAfter    = 6 * time.Hour
	DefaultSweepInterval = 5 * time.Minute

	// settleDelay is how long a sidecar that cannot be used must stay the same before that
	// is said: a spawner truncates it and writes it in two steps, and an event tells of the
	// first.
	settleDelay = time.Second
)

// Options configure a [Collector]. Root and Registry are required.
type Options struct {
	Root     string             // the runtime root; a relative one is taken as it stands at New
	Registry *registry.Registry // what is to be collected; somebody else keeps it up to date
	Log      zerolog.Logger     // the zero value is silent

	StaleAfter    time.Duration // 0: DefaultStaleAfter
	SweepInterval time.Duration // 0: DefaultSweepInterval
	DryRun        bool          // open nothing for writing; say what would be done

	// Protect are patterns in the syntax of [path.Match]: a dir whose name one of them
	// matches is never removed. See CheckPattern.
	Protect []string

	// Due, if not nil, asks [Collector.Run] for a sweep before the interval is over.
	Due <-chan struct{}

	// Refreshed, if not nil, is told of each sidecar that was refreshed, as it is now: the
	// watcher need not read what we have just written.
	Refreshed func(daemondir.Entry)

	// Swept, if not nil, is told of each sweep when it is over, Noticed of each daemon.live
	// and daemon.exited that an event led to, and how long after that was taken in: by the
	// watcher, if it is Timed, or from epoll. The collector calls them, and waits.
	Swept   func(stats Stats, took time.Duration)
	Noticed func(event string, after time.Duration)

	// Settings, if not nil, changes the times while Run runs, from the next sweep on.
	Settings <-chan Settings

	// Ping, if not nil, is received from as long as Run is not stuck, in the course of a
	// long sweep as well: for a watchdog.
	Ping <-chan struct{}
}

// Settings are the [Options] that may change while a collector runs.
type Settings struct {
	StaleAfter    time.Duration // 0: DefaultStaleAfter
	SweepInterval time.Duration // 0: DefaultSweepInterval
}

// A Collector collects one root. Make it with [New]; its methods, but for
// [Collector.Totals], are for one goroutine.
type Collector struct {
	opts Options
	root string // absolute
	prober
	protects patterns
	exits    *exits // nil: exits are found by the sweep
	daemons  map[string]*daemon

	unsettled map[string]unsettled       // sidecars that cannot be used and are yet to be said so
	settle    *time.Timer                // runs while there are any
	leftovers map[string]Reason          // quarantined dirs, and why, as was said, they stay
	removed   map[string]daemondir.Entry // removed by us; the registry has yet to hear of it
	removing  string                     // being removed: what becomes of it is known afterwards
	refresher *refresher                 // of the sweep under way, if it has refreshed any

	noticed time.Time // when the event was taken in that is being observed; zero: a look of our own
	tally   tally
}

// daemon is what is known of one daemon dir beyond its entry, and what has been said
// of it. There may be 100,000 of them.
type daemon struct {
	held      // its process, as of the last probe
	dir       daemondir.FileID
	spawnedAt daemondir.Timestamp // by which the process was verified

	// nextLook is from when on, in ms since the epoch, a sweep has to look at the dir again.
	nextLook uint64
	invalid  bool // no usable sidecar

	added   bool          // daemon.added was said
	live    bool          // daemon.live was said, daemon.exited not yet
	lastPID daemondir.PID // of the last daemon.live
	odd     *oddities     // nil of most
}

// oddities are what was said of a dir that is not as it should be.
type oddities struct {
	invalid daemondir.Stamp // the sidecar of the last sidecar.invalid
	kept    Reason          // of the last daemon.kept
	refused string          // the error of the last refresh that failed
}

// exit is the end of a daemon's process, and when it was announced.
type exit struct {
	name string
	at   time.Time
}

// oddity returns the oddities of d, to be written to.
func (d *daemon) oddity() *oddities {
	if d.odd == nil {
		d.odd = &oddities{}
	}
	return d.odd
}

// said returns the oddities of d, to be read.
func (d *daemon) said() oddities {
	if d.odd == nil {
		return oddities{}
	}
	return *d.odd
}

// New returns a collector that has not looked at anything yet. The error says what is
// wrong with opts.
func New(opts Options) (*Collector, error) {
	if opts.Root == "" || opts.Registry == nil {
		return nil, errors.New("prune: Root and Registry are required")
	}
	if opts.StaleAfter < 0 || opts.SweepInterval < 0 {
		return nil, errors.New("prune: durations must not be negative")
	}
	opts.apply(Settings{opts.StaleAfter, opts.SweepInterval})
	for _, pattern := range opts.Protect {
		if err := CheckPattern(pattern); err != nil {
			return nil, fmt.Errorf("prune: Protect: %w", err)
		}
	}
	root, err := filepath.Abs(opts.Root)
	if err != nil {
		return nil, err
	}
	c := &Collector{
		opts:      opts,
		root:      root,
		prober:    prober{now: time.Now, clock: newClock(wallOffset)},
		protects:  opts.Protect,
		daemons:   make(map[string]*daemon),
		unsettled: make(map[string]unsettled),
		settle:    time.NewTimer(settleDelay),
		leftovers: make(map[string]Reason),
		removed:   make(map[string]daemondir.Entry),
	}
	c.settle.Stop()
	return c, nil
}

// apply sets the times. None is ever less than nothing: a ticker would panic, and a
// daemon that has just exited would be stale.
func (o *Options) apply(s Settings) {
	o.StaleAfter, o.SweepInterval = s.StaleAfter, s.SweepInterval
	if o.StaleAfter <= 0 {
		o.StaleAfter = DefaultStaleAfter
	}
	if o.SweepInterval <= 0 {
		o.SweepInterval = DefaultSweepInterval
	}
}

// Close lets go of what the collector holds. The collector must not be used after it.
func (c *Collector) Close() {
	for name := range c.daemons {
		c.forget(name)
	}
}

// Run judges changes as they come and sweeps at every interval, and whenever Due asks
// for it, until ctx is done. What is in hand then is finished: a removal is never left
// half done.
func (c *Collector) Run(ctx context.Context) {
	tick := time.NewTicker(c.opts.SweepInterval)
	defer tick.Stop()
	var announced <-chan exit
	if x, err := newExits(); err == nil {
		c.exits = x
		announced = x.c
		var running sync.WaitGroup
		running.Go(x.run)
		defer running.Wait()
		defer x.close()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.opts.Registry.Changes().Ready():
			c.observeChanges()
		case x := <-announced:
			c.observeAt(x.at, x.name, exitAnnounced)
		case <-c.settle.C:
			c.sayInvalid(false)
		case <-c.opts.Ping:
		case s := <-c.opts.Settings:
			c.opts.apply(s)
			tick.Reset(c.opts.SweepInterval)
			for _, d := range c.daemons {
				d.nextLook = 0 // it was reckoned by the time before
			}
		case <-c.opts.Due:
			c.Sweep(ctx, nil)
		case <-tick.C:
			c.Sweep(ctx, nil)
		}
	}
}

// attend does what cannot wait for the end of a sweep.
func (c *Collector) attend() {
	var announced <-chan exit
	if c.exits != nil {
		announced = c.exits.c
	}
	for {
		select {
		case <-c.opts.Registry.Changes().Ready():
			c.observeChanges()
		case x := <-announced:
			c.observeAt(x.at, x.name, exitAnnounced)
		case <-c.opts.Ping:
		default:
			return
		}
	}
}

func (c *Collector) observeChanges() {
	for _, change := range c.opts.Registry.Changes().TakeWaiting() {
		c.observeAt(change.Since, change.Name, entryChanged)
	}
}

// observeAt is observe because of an event that was taken in at that time.
func (c *Collector) observeAt(at time.Time, name string, why occasion) {
	c.noticed = at
	c.observe(name, why)
	c.noticed = time.Time{}
}

// An occasion is why a daemon is looked at.
type occasion uint8

const (
	entryChanged  occasion = iota // its entry in the registry is another
	exitAnnounced                 // its pidfd says that the process has exited
	swept                         // it is its turn in a sweep
)

// observe compares the entry of that name with what is known of the daemon, probes it
// if the answer may be another, and says what has changed.
func (c *Collector) observe(name string, why occasion) {
	if name == c.removing && name != "" {
		return
	}
	e, ok := c.opts.Registry.Get(name)
	d := c.daemons[name]
	if d != nil && (!ok || e.Dir != d.dir && e.Dir != (daemondir.FileID{})) {
		if d.added {
			c.log(c.opts.Log.Info(), "daemon.gone", name).Msg("daemon dir was removed by somebody else")
		}
		c.forget(name)
		d = nil
	}
	if was, ours := c.removed[name]; ours {
		if ok && e == was {
			return
		}
		delete(c.removed, name)
	}
	if !ok {
		return
	}
	if daemondir.Quarantined(name) {
		if _, known := c.leftovers[name]; !known {
			c.leftovers[name] = ""
		}
		return
	}
	if d == nil {
		d = &daemon{held: nobody, dir: e.Dir}
		c.daemons[name] = d
	}
	if e.Sidecar != (daemondir.Stamp{}) && !d.added {
		d.added = true
		c.log(c.opts.Log.Info(), "daemon.added", name).Msg("daemon dir found")
	}
	c.check(name, d, e, why)
	switch e.Problem {
	case daemondir.ProblemNone, daemondir.ProblemNoSidecar:
		delete(c.unsettled, name)
	default:
		mark := invalidMark(e)
		if d.said().invalid == mark || c.unsettled[name].mark == mark {
			return
		}
		if len(c.unsettled) == 0 {
			c.settle.Reset(settleDelay)
		}
		c.unsettled[name] = unsettled{mark: mark, since: time.Now()}
	}
}

// unsettled is a sidecar that cannot be used: which, and since when it is this one.
type unsettled struct {
	mark  daemondir.Stamp
	since time.Time
}

// invalidMark is what makes one invalid sidecar another: its file, or without one (a
// dir that may not be read) the problem.
func invalidMark(e daemondir.Entry) daemondir.Stamp {
	if e.Sidecar == (daemondir.Stamp{}) {
		return daemondir.Stamp{Size: -1 - int64(e.Problem)}
	}
	return e.Sidecar
}

// sayInvalid says which sidecars have been invalid, and the same, for settleDelay; or,
// with all set, which are invalid.
func (c *Collector) sayInvalid(all bool) {
	now, next := time.Now(), settleDelay
	for name, u := range c.unsettled {
		e, ok := c.opts.Registry.Get(name)
		d := c.daemons[name]
		if !ok || d == nil || e.Problem == daemondir.ProblemNone || e.Problem == daemondir.ProblemNoSidecar {
			delete(c.unsettled, name)
			continue
		}
		if wait := settleDelay - now.Sub(u.since); wait > 0 && !all {
			next = min(next, wait)
			continue
		}
		if mark := invalidMark(e); mark != u.mark && !all {
			continue // the change is on its way to observe, which begins to wait anew
		}
		delete(c.unsettled, name)
		d.oddity().invalid = invalidMark(e)
		c.log(c.opts.Log.Warn(), "sidecar.invalid", name).Str("reason", e.Problem.String()).
			Msg("sidecar cannot be used; the dir is kept")
	}
	if len(c.unsettled) > 0 {
		c.settle.Reset(next)
	}
}

// check makes sure that d says whether the daemon of e lives, and logs what is new.
func (c *Collector) check(name string, d *daemon, e daemondir.Entry, why occasion) {
	was := d.state()
	d.invalid = e.Problem != daemondir.ProblemNone
	defer func() {
		c.tally.move(was, d.state())
		d.nextLook = nextLook(e, d.Liveness, c.opts.StaleAfter)
	}()
	spawnedAt := e.SpawnedAt
	if d.invalid {
		// Without a sidecar nobody is born; whether the one that lived still does is known
		// from what it was last verified by.
		if !d.live {
			return
		}
		e.PID, spawnedAt = d.pid, d.spawnedAt
	}
	pid := e.PID
	if !pid.Known && d.live {
		// A pid file that is being rewritten, or was emptied or lost, says nothing new of a
		// process that was verified by it.
		pid = d.pid
	}
	var exit Liveness
	over := false
	switch {
	case d.fd >= 0 && d.pid == pid:
		// Verified once, and its exit will be announced.
		if why != exitAnnounced {
			return
		}
		if exit, over = d.over(); !over {
			return
		}
	case d.State == Dead && why != entryChanged:
		return // the dead do not rise
	}
	c.release(d)
	if over {
		d.held = held{Liveness: exit, pid: pid, fd: -1}
	} else {
		e.SpawnedAt = spawnedAt
		d.held = c.probe(e, pid, c.path(name))
	}
	d.spawnedAt = spawnedAt
	c.sayLife(name, d, e, pid)
	c.hold(name, d)
}

// sayLife says a birth or an exit, if d, which was just looked at, tells of one; pid is
// whom it was about.
func (c *Collector) sayLife(name string, d *daemon, e daemondir.Entry, pid daemondir.PID) {
	switch {
	case d.State == Alive && !(d.live && d.lastPID == pid):
		line := c.log(c.opts.Log.Info(), "daemon.live", name).Uint32("pid", pid.N)
		if d.lastPID.Known && d.lastPID != pid {
			line = line.Uint32("previous_pid", d.lastPID.N)
		}
		withMS(line, "started_at_unix_ms", d.StartedAt).Msg("daemon is alive")
		d.live, d.lastPID = true, pid
		if d.odd != nil {
			d.odd.kept = ""
		}
		c.told("daemon.live")
	case d.State == Dead && d.live:
		d.live = false
		line := c.log(c.opts.Log.Info(), "daemon.exited", name)
		if pid.Known && pid != d.lastPID {
			// A respawn that was over before it was seen. Of the process before it nothing is
			// known but that it is no longer the daemon.
			line = line.Uint32("pid", pid.N).Uint32("previous_pid", d.lastPID.N)
		} else {
			line = line.Uint32("pid", d.lastPID.N)
		}
		line = line.Str("reason", string(d.Reason))
		withMS(line, "stale_at_unix_ms", staleAt(e.LastSeen, c.opts.StaleAfter)).Msg("daemon has exited")
		c.told("daemon.exited")
	}
}

// hold has the exit of a live daemon announced. Without room for its pidfd the sweep
// finds it.
func (c *Collector) hold(name string, d *daemon) {
	if d.fd < 0 {
		return
	}
	if c.exits == nil || !c.exits.room() || c.exits.add(d.fd, name) != nil {
		d.held.release()
	}
}

func (c *Collector) release(d *daemon) {
	if d.fd >= 0 && c.exits != nil {
		c.exits.remove(d.fd)
	}
	d.held.release()
}

// forget drops what is known of a daemon.
func (c *Collector) forget(name string) {
	if d := c.daemons[name]; d != nil {
		c.release(d)
		c.tally.move(d.state(), "")
		delete(c.daemons, name)
	}
	delete(c.unsettled, name)
}

func (c *Collector) path(name string) string { return filepath.Join(c.root, name) }

// log begins a line about one daemon.
func (c *Collector) log(line *zerolog.Event, event, name string) *zerolog.Event {
	return line.Str("event", event).Str("daemon", daemondir.Printable(name)).
		Str("dir", daemondir.Printable(c.path(name)))
}

func withMS(line *zerolog.Event, key string, t daemondir.Timestamp) *zerolog.Event {
	if t.Known {
		line = line.Uint64(key, t.MS)
	}
	return line
}

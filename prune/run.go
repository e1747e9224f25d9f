package prune

// The observer's loop, and the single pass: who calls whom, and when.

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"runtimegc/prune/internal/proc"
	"runtimegc/registry"
)

// A Watcher keeps a registry equal to the disk: a watcher.Watcher.
type Watcher interface {
	Registry() *registry.Registry

	// RunLocked runs until ctx is done or it cannot go on. It takes the lock before it puts
	// anything into the registry, and releases it when the root is lost or it returns.
	RunLocked(ctx context.Context, lock func(root string) (release func(), err error)) error
}

// Run runs w, judges changes as they come, and sweeps when the root has been read and at
// every interval, until ctx is done or w fails: its error is Run's. What is in hand then
// is finished: a removal is never left half done, and w keeps the lock on the root until
// then. The error may also be [ErrBusy] or [ErrTraceStuck], or that w is the watcher of
// another registry.
func (c *Collector) Run(ctx context.Context, w Watcher) error {
	if w == nil || w.Registry() != c.reg {
		return errors.New("prune: the watcher is of another registry than the collector")
	}
	end, err := c.begin()
	if err != nil {
		return err
	}
	defer end()
	o := c.newObserver()

	ctx, stop := context.WithCancel(ctx)
	defer stop()
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()
	failed := make(chan error, 1)
	go func() {
		defer stop() // without a watcher the registry is no longer true
		failed <- w.RunLocked(watching, func(string) (func(), error) { return c.Lock() })
	}()
	o.run(ctx)
	stopWatching()
	return errors.Join(<-failed, o.close())
}

// run is the observer's loop. Who signals whom:
//
//	the watcher  -> changes, synced  the registry is another, or equal to the root
//	the kernel   -> exits            a live daemon has exited
//	the observer -> tasks            to the worker, one at a time
//	the worker   -> reports          what came of it
//	anybody      -> pings, timesChanged, sweepNow
func (o *observer) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	var exits <-chan proc.Exit
	if x, err := proc.NewExits(); err == nil {
		o.exits, exits = x, x.Announced()
		running.Go(x.Run)
		defer x.Close()
	}
	tasks, reports := make(chan task, 1), make(chan report)
	w := &worker{Collector: o.Collector, dryRun: o.dryRun}
	running.Go(func() { w.work(ctx, tasks, reports) })

	tick := time.NewTicker(o.Times().SweepInterval)
	defer tick.Stop()
	always := make(chan struct{})
	close(always)
	due, busy := false, false
	for {
		var mayJudge <-chan struct{}
		if o.pass != nil && o.pass.mayJudge() {
			mayJudge = always
		}
		select {
		case <-ctx.Done():
			o.finish(tasks, reports)
			return
		case <-o.changes.Ready():
			o.observeChanges()
		case x := <-exits:
			o.observeExit(x)
		case <-o.settle.C:
			o.logSettled(false)
		case <-o.pings:
		case <-o.timesChanged:
			tick.Reset(o.Times().SweepInterval)
			o.lookAgain()
		case <-o.changes.Synced():
			due = true
		case <-o.sweepNow:
			due = true
		case <-tick.C:
			due = true
		case <-mayJudge:
			o.judge(judgeBatch)
		case r := <-reports:
			busy = false
			o.account(r)
		}
		if due && o.pass == nil {
			due = false
			o.observeChanges() // what the registry has, this sweep has
			o.beginPass(nil)
		}
		if o.pass != nil && !busy {
			busy = o.advance(tasks)
		}
	}
}

// advance gives the idle worker what is to be done next, if there is anything, and ends the
// pass if there is not. It reports whether the worker is busy now.
func (o *observer) advance(tasks chan<- task) bool {
	if t, ok := o.pass.next(); ok {
		o.inHand = t.removal()
		tasks <- t
		return true
	}
	if o.pass.over() {
		o.endPass()
	}
	return false
}

// finish waits for what the worker has in hand.
func (o *observer) finish(tasks chan<- task, reports <-chan report) {
	close(tasks)
	for r := range reports {
		o.account(r)
	}
	if o.pass != nil {
		o.endPass()
	}
}

// A Result is what a single pass found and did.
type Result struct {
	Stats
	Rows []Row // one for each daemon dir, in no order; the decision is what was done
}

// Sweep makes a single pass over the registry as it is: all is judged, then carried out,
// and each step is logged. It ends early, between two dirs, when ctx is done. visit, if not
// nil, is called with each row as its fate is known. The error is [ErrBusy], or that the
// root is served by another collector; then nothing was done.
func (c *Collector) Sweep(ctx context.Context, visit func(Row)) (Result, error) {
	end, err := c.begin()
	if err != nil {
		return Result{}, err
	}
	defer end()
	if !c.dryRun {
		done, _, held := c.lock.use()
		if !held {
			done, err = c.Lock()
		}
		switch {
		case err == nil:
			defer done()
		case !errors.Is(err, fs.ErrNotExist): // no root, no dirs
			return Result{}, err
		}
	}
	o := c.newObserver()
	var result Result
	result.Stats = o.sweep(ctx, func(row Row) {
		result.Rows = append(result.Rows, row)
		if visit != nil {
			visit(row)
		}
	})
	o.logSettled(true)
	return result, o.close()
}

// sweep is a pass without a worker of its own.
func (o *observer) sweep(ctx context.Context, visit func(Row)) Stats {
	w := &worker{Collector: o.Collector, dryRun: o.dryRun}
	defer w.close()
	o.observeChanges()
	o.beginPass(visit)
	for !o.pass.over() && ctx.Err() == nil {
		if o.pass.mayJudge() {
			o.judge(judgeBatch)
		}
		if t, ok := o.pass.next(); ok {
			o.inHand = t.removal()
			o.account(w.do(ctx, t))
		}
	}
	return o.endPass()
}

// beginPass begins a sweep, at one and the same now for all. Without visit it passes over
// what cannot have become due since it was last judged: a dead daemon whose files have not
// changed costs a comparison.
func (o *observer) beginPass(visit func(Row)) {
	p := &pass{began: time.Now(), now: o.now(), staleAfter: o.Times().StaleAfter, visit: visit}
	ms := unixMS(p.now)
	for name, d := range o.daemons {
		if visit == nil && ms < d.nextLook {
			p.stats.count(d.state())
			p.stats.Kept++
		} else {
			p.unjudged = append(p.unjudged, name)
		}
	}
	for name := range o.leftovers {
		p.leftovers = append(p.leftovers, o.inspect(name, p.now, p.staleAfter))
	}
	slices.SortFunc(p.leftovers, func(a, b item) int { return strings.Compare(a.entry.Name, b.entry.Name) })
	o.pass = p
}

// lookAgain makes the next sweep judge all: by other times, other dirs are due.
func (o *observer) lookAgain() {
	for _, d := range o.daemons {
		d.nextLook = 0
	}
}

// judge judges up to n of the dirs that are yet to be judged in this pass.
func (o *observer) judge(n int) {
	p := o.pass
	n = min(n, len(p.unjudged))
	for _, name := range p.unjudged[:n] {
		e, known := o.reg.Get(name)
		d := o.daemons[name]
		if d == nil || !known {
			continue // gone since the pass began
		}
		o.check(name, d, e, swept)
		it := item{e, o.row(e, d.Liveness, p.now, p.staleAfter)}
		p.stats.count(it.row.State)
		switch it.row.Decision {
		case Remove:
			p.removals = append(p.removals, it)
		case Refresh:
			p.refreshes = append(p.refreshes, it)
		case Keep:
			o.accountKept(it.row, d)
		}
	}
	p.unjudged = p.unjudged[n:]
}

// endPass ends the sweep.
func (o *observer) endPass() Stats {
	p := o.pass
	o.pass = nil
	took := time.Since(p.began)
	o.count(func(t *Totals) {
		t.Sweeps++
		t.Failed += p.stats.Failed
		if !o.dryRun {
			t.Refreshed += p.stats.Refreshed
		}
		t.LastSweep = time.Now()
	})
	o.logSwept(p.stats, took)
	return p.stats
}

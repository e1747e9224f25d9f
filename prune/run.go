package prune

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"runtimegc/registry"
)

// A Watcher keeps a registry equal to the disk. It is implemented by watcher.Watcher.
type Watcher interface {
	Registry() *registry.Registry

	// RunLocked runs until ctx is done or there is an error. It takes the lock before it adds
	// anything to the registry, and releases it when the root is lost or it returns. The role
	// is for its log.
	RunLocked(ctx context.Context, lock func(root string) (role string, release func(), err error)) error
}

// Run runs w, judges changes as they come, and sweeps when the root has been read and at
// every interval, until ctx is done or w fails. Then it finishes the task that is under way,
// so that no removal is left half done; w keeps the lock on the root until then. If another
// collector has that lock, that is an error, unless it is on another host or in another pid
// namespace: then Run follows it ([RoleFollower]), and tries at each sweep to take over. The
// error is that of w, [ErrBusy] or [ErrTraceStuck], or that w has another registry than c.
func (c *Collector) Run(ctx context.Context, w Watcher) error {
	if w == nil || w.Registry() != c.reg {
		return errors.New("prune: watcher and collector have different registries")
	}
	if !c.busy.CompareAndSwap(false, true) {
		return ErrBusy
	}
	defer c.busy.Store(false)
	o := c.newObserver()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()
	failed, found := make(chan error, 1), false
	go func() {
		defer stop() // without a watcher the registry would become outdated
		failed <- w.RunLocked(watching, func(string) (string, func(), error) {
			c.updateScope()
			if found {
				o.foundAgain(ctx)
			}
			found = true
			return c.enter()
		})
	}()
	o.run(ctx)
	stopWatching()
	return errors.Join(<-failed, o.close())
}

// run is the observer's loop. Who signals whom:
//
//	the watcher    -> rootFound        a root was found again, and is scanned now
//	the watcher    -> changes, synced  the registry has changed, or is equal to the root
//	the kernel     -> exits            a live daemon has exited
//	the observer   -> tasks            for the worker, one at a time
//	the worker     -> reports          the outcomes of a task
//	any goroutine  -> pings, timesChanged, sweepNow, requests
func (o *observer) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	o.openExits(&running)
	defer func() {
		if o.exits != nil {
			o.exits.Close()
		}
	}()
	tasks, reports := make(chan task, 1), make(chan report)
	w := &worker{Collector: o.Collector, dryRun: o.dryRun}
	running.Go(func() { w.work(ctx, tasks, reports) })

	stuck := time.NewTimer(o.stuckAfter) // while the worker is busy
	stuck.Stop()
	defer stuck.Stop()
	tick := time.NewTicker(o.Times().SweepInterval)
	defer tick.Stop()
	always := make(chan struct{})
	close(always)
	due, busy := false, false
	// begin begins a pass, if one is wanted and none is under way.
	begin := func() bool {
		switch {
		case o.pass != nil:
			return false
		case due:
			due = false
			o.openExits(&running)
			o.observeChanges() // so that this sweep includes them
			o.beginPass(o.Times().StaleAfter, false, nil)
			return true
		case len(o.requested) > 0 && o.scanned:
			o.beginRequested()
			return true
		}
		return false
	}
	for {
		var mayJudge <-chan struct{}
		if o.pass != nil && o.pass.mayJudge() {
			mayJudge = always
		}
		select {
		case <-ctx.Done():
			o.finish(tasks, reports)
			o.refuseRequests()
			return
		case <-o.changes.Ready():
			o.observeChanges()
		case x := <-o.exits.Announced():
			o.observeExit(x)
		case <-o.debounce.C:
			o.logInvalids(false)
		case <-o.recheck.C:
			o.checkReturned()
			o.reportUnannounced(false)
		case <-o.pings:
		case <-o.timesChanged:
			tick.Reset(o.Times().SweepInterval)
			for _, d := range o.daemons {
				d.judgeAgainAt = 0 // other dirs may be due by the new times
			}
		case <-o.rootFound:
			o.scanned = false
		case <-o.changes.Synced():
			o.observeChanges()
			o.scanned, due = true, true
		case <-o.sweepNow:
			due = true
		case r := <-o.requests:
			o.requested = append(o.requested, r)
		case <-tick.C:
			due = true
		case <-mayJudge:
			o.judge(judgeBatch)
		case <-stuck.C:
			o.logStuck(o.inHand)
		case r := <-reports:
			busy = false
			stuck.Stop()
			o.account(r)
		}
		// A pass may end here, and the next one wait for it.
		for begin(); !busy; {
			if busy = o.advance(tasks); busy {
				stuck.Reset(o.stuckAfter)
			} else if !begin() {
				break
			}
		}
	}
}

// foundAgain tells run, from the watcher's goroutine, that a root was found after one was lost,
// and has not been scanned yet. It returns when run knows, or ctx is done.
func (o *observer) foundAgain(ctx context.Context) {
	select {
	case <-o.changes.Synced(): // was said of the last root
	default:
	}
	select {
	case o.rootFound <- struct{}{}:
	case <-ctx.Done():
	}
}

// advance gives the idle worker the next task, if there is one, or ends the pass if it is
// over. It reports whether the worker is busy now.
func (o *observer) advance(tasks chan<- task) bool {
	give := func(t task) bool {
		o.beingRemoved, o.inHand = t.removal(), ""
		if len(t.items) > 0 {
			o.inHand = t.items[0].entry.Name
		}
		tasks <- t
		return true
	}
	if len(o.exited) > 0 {
		t := task{kind: recording, items: o.exited}
		o.exited, o.recorded = nil, true
		return give(t)
	}
	if o.pass == nil {
		if o.recorded {
			o.recorded = false
			return give(task{kind: ending})
		}
		return false
	}
	if t, ok := o.pass.next(); ok {
		return give(t)
	}
	if o.pass.over() {
		o.endPass()
	}
	return false
}

// finish waits until the worker has ended, and ends the pass.
func (o *observer) finish(tasks chan<- task, reports <-chan report) {
	close(tasks)
	for r := range reports {
		o.account(r)
	}
	if o.pass != nil {
		o.endPass()
	}
}

// maxDoubted is how many of the dirs without a usable sidecar a sweep has read again; which
// ones of more, is left to chance. That of a daemon that has lived is read in any case.
// Nobody else reads them, and what mends one may raise no event, as a write through another
// hard link.
const maxDoubted = 64

// beginPass begins a sweep. Unless it is to judge every dir, it skips those that cannot have
// become due since they were last judged: a dead daemon whose files have not changed costs
// only a comparison. There is no row of a dir that is skipped.
func (o *observer) beginPass(staleAfter time.Duration, every bool, visit func(Row)) {
	p := o.newPass(staleAfter, visit)
	ms := unixMS(p.now)
	doubted := 0
	for name, d := range o.daemons {
		if !every && d.invalid && (d.live || doubted < maxDoubted) {
			doubted++
			o.reg.Doubt(name)
		}
		if !every && ms < d.judgeAgainAt {
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

func (o *observer) newPass(staleAfter time.Duration, visit func(Row)) *pass {
	if o.scope.Load().foreign != nil {
		// It may have been a lack of descriptors, and no removal will follow that asks again.
		o.updateScope()
	}
	return &pass{
		began: time.Now(), now: o.now(), staleAfter: staleAfter, visit: visit,
		asking: o.lock.following.Load(),
	}
}

// judge judges up to n of the dirs that remain to be judged in this pass.
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
		it := item{entry: e, row: o.row(d.seen(e), *d.Liveness, p.now, p.staleAfter), witnessed: d.witnessed}
		p.stats.count(it.row.State)
		if p.following && it.row.Decision == Remove {
			it.row.Decision = Keep // the other collector removes it
		}
		switch it.row.Decision {
		case Remove:
			p.removals = append(p.removals, it)
		case Refresh:
			p.refreshes = append(p.refreshes, it)
		case Keep:
			o.record(d, e)
			o.accountKept(it.row, d)
		}
	}
	p.unjudged = p.unjudged[n:]
}

func (o *observer) endPass() Stats {
	p := o.pass
	o.pass = nil
	took := time.Since(p.began)
	o.count(func(t *Totals) {
		t.Failed += p.stats.Failed
		if !o.dryRun {
			t.Refreshed += p.stats.Refreshed
		}
		if !p.partial {
			t.Sweeps++
			t.LastSweep = time.Now()
		}
	})
	o.logSwept(p.stats, took, p.partial)
	o.reportUnannounced(true)
	if p.ended != nil {
		p.ended(p.stats)
	}
	return p.stats
}

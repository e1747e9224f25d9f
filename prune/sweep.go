package prune

// The single pass.

import (
	"context"
	"errors"
	"io/fs"
	"runtime"
	"sync"
)

const (
	// maxWorkers is how many dirs are removed at a time, at most. Renames in one root wait for each
	// other, and the machine has other work.
	maxWorkers = 4

	// perWorker is for how many removals another worker is worth its descriptors.
	perWorker = 32
)

// A Result is what a single pass has found and done.
type Result struct {
	Stats
	Rows []Row // one for each daemon dir, in no order; the decision is what was done
}

// Sweep makes a single pass over the registry as it is, and logs what it does. It ends early,
// between two dirs, when ctx is done. visit, if not nil, is called with each row when its
// decision has been carried out. The error is [ErrBusy], or that another collector serves
// the root; then nothing was done.
func (c *Collector) Sweep(ctx context.Context, visit func(Row)) (Result, error) {
	if !c.busy.CompareAndSwap(false, true) {
		return Result{}, ErrBusy
	}
	defer c.busy.Store(false)
	if !c.dryRun {
		var err error
		done, _, held := c.lock.use(true)
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
	c.updateScope()
	o := c.newObserver()
	var result Result
	result.Stats = o.sweep(ctx, true, func(row Row) {
		result.Rows = append(result.Rows, row)
		if visit != nil {
			visit(row)
		}
	})
	o.logInvalids(true)
	return result, o.close()
}

// sweep makes a pass without the loop of run; see beginPass.
func (o *observer) sweep(ctx context.Context, every bool, visit func(Row)) Stats {
	w := &worker{Collector: o.Collector, dryRun: o.dryRun}
	defer w.close()
	o.observeChanges()
	o.beginPass(o.Times().StaleAfter, every, visit)
	for !o.pass.over() && ctx.Err() == nil {
		if o.pass.mayJudge() {
			o.judge(judgeBatch)
		}
		if t, ok := o.pass.next(); ok {
			o.account(w.do(ctx, t))
			if t.kind == removing {
				o.removeSideBySide(ctx, w)
			}
		}
	}
	return o.endPass()
}

// removeSideBySide carries out the removals that are left of the pass, if there are many, by
// one worker for each processor. w has begun with the first.
func (o *observer) removeSideBySide(ctx context.Context, w *worker) {
	items := o.pass.removals
	workers := []*worker{w}
	for range min(runtime.GOMAXPROCS(0), maxWorkers, len(items)/perWorker) - 1 {
		if other, ok := w.another(); ok {
			defer other.close()
			workers = append(workers, other)
		}
	}
	if len(workers) == 1 {
		return
	}
	o.pass.removals = nil
	tasks, reports := make(chan task), make(chan report)
	var running sync.WaitGroup
	for _, w := range workers {
		running.Go(func() {
			for t := range tasks {
				reports <- w.do(ctx, t)
			}
		})
	}
	go func() { // ends when all have been carried out, or ctx is done
		for i := range items {
			if ctx.Err() != nil {
				break
			}
			tasks <- o.pass.task(removing, items[i:i+1])
		}
		close(tasks)
		running.Wait()
		close(reports)
	}()
	for r := range reports {
		o.account(r)
	}
}

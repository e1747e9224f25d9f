package prune

// Carrying a plan out: the worker, which alone writes to daemon dirs.

import (
	"context"
	"time"

	"runtimegc/registry/daemondir"
)

// kind is what is to be done with the items of a task.
type kind uint8

const (
	refreshing kind = iota
	removing
	finishing // what an interrupted removal left
	ending    // nothing more comes in this pass
)

// A task is what the worker is given at a time: some refreshes, or one removal.
type task struct {
	kind       kind
	items      []item
	now        time.Time // of the pass
	staleAfter time.Duration
}

// removal returns the name of the dir that the task removes, or "".
func (t task) removal() string {
	if t.kind == removing {
		return t.items[0].entry.Name
	}
	return ""
}

// An outcome is what came of one item. In the row of a removal that was called off stands
// why.
type outcome struct {
	item
	fresh   daemondir.Entry // of a refresh: the entry as it is now
	err     error           // of a refresh: errNotNow, or what is wrong
	removal removal
}

// A report is what came of a task. If there are fewer outcomes than items, the rest was not
// begun.
type report struct {
	task
	outcomes   []outcome
	unreadable int // see Stats
}

// A worker refreshes and removes what tasks ask for. It keeps open what the items of one
// pass have in common. It is for one goroutine.
type worker struct {
	*Collector
	staleAfter time.Duration
	dryRun     bool

	refresher  *refresher // nil: none yet
	remover    *remover   // nil: none yet
	removerErr error      // why there is none in this pass
	turn       int        // of the lock, when they were opened
}

// work does each task that comes, and reports it, until there are no more.
func (w *worker) work(ctx context.Context, tasks <-chan task, reports chan<- report) {
	defer close(reports)
	defer w.close()
	for t := range tasks {
		reports <- w.do(ctx, t)
	}
}

// do carries a task out. It stops between two items when ctx is done.
func (w *worker) do(ctx context.Context, t task) report {
	r := report{task: t}
	if t.kind == ending {
		w.close()
		return r
	}
	w.staleAfter = t.staleAfter
	if !w.dryRun {
		done, turn, ok := w.lock.use()
		if !ok {
			return r // the root was lost, and all in it is no longer ours
		}
		defer done()
		if turn != w.turn {
			// What is open may be the root that was lost; another stands there by now.
			w.close()
			w.turn = turn
		}
	}
	for _, it := range t.items {
		if ctx.Err() != nil {
			break
		}
		var o outcome
		switch t.kind {
		case refreshing:
			o = w.refresh(it, t.now)
		case removing:
			o = w.remove(it)
		case finishing:
			o = w.finish(it)
		}
		r.outcomes = append(r.outcomes, o)
	}
	if w.remover != nil {
		r.unreadable = w.remover.users.Unreadable
	}
	return r
}

// close closes what is open for a pass.
func (w *worker) close() {
	if w.refresher != nil {
		w.refresher.close()
	}
	if w.remover != nil {
		w.remover.close()
	}
	w.refresher, w.remover, w.removerErr = nil, nil, nil
}

// refresh sets last_seen of a live daemon to when the pass began.
func (w *worker) refresh(it item, now time.Time) outcome {
	o := outcome{item: it, fresh: it.entry}
	if w.dryRun {
		return o
	}
	if w.refresher == nil {
		if w.refresher, o.err = newRefresher(w.root); o.err != nil {
			o.err = notNowIfGone(w.root, o.err)
			return o
		}
	}
	o.fresh, o.err = w.refresher.refresh(it.entry, unixMS(now))
	if o.err == nil && o.fresh != it.entry {
		w.reg.Expect(o.fresh) // before the watcher comes to the event of our own write
	}
	return o
}

// remove takes a dir that the judge wants removed through removal.
func (w *worker) remove(it item) outcome {
	o := outcome{item: it}
	if m, err := w.openRemover(); err != nil {
		// The root is gone, or the process table cannot be read: nothing is removed now.
		o.removal = fail(err)
	} else {
		o.removal = m.remove(it.entry)
	}
	if o.removal.kept != "" {
		o.row.keep(o.removal)
	}
	return o
}

// finish deals with one leftover of an interrupted removal.
func (w *worker) finish(it item) outcome {
	o := outcome{item: it}
	o.row.Decision, o.row.Reason = Remove, Leftover
	if m, err := w.openRemover(); err != nil {
		o.removal = fail(err)
	} else {
		o.removal = m.finish(it.entry.Name)
	}
	if o.removal.kept != "" {
		o.row.keep(o.removal)
	}
	return o
}

// openRemover opens the remover of this pass, or returns the error that it got before.
func (w *worker) openRemover() (*remover, error) {
	if w.remover == nil && w.removerErr == nil {
		w.remover, w.removerErr = w.newRemover(w.staleAfter, w.dryRun)
	}
	return w.remover, w.removerErr
}

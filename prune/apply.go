package prune

import (
	"context"
	"errors"
	"time"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir"
)

// stuckTime is how long a task may take before it is logged that the worker is stuck. Most take
// milliseconds; the removal of a tree of a million files takes longer.
const stuckTime = 10 * time.Second

// kind is what a task asks for.
type kind uint8

const (
	recording kind = iota // exits, in a pass or outside of one; row.LastSeen is when they were noticed
	refreshing
	removing
	finishing  // removing what an interrupted removal left
	takingOver // trying to take the root's lock over from the collector that we follow
	ending     // there are no more tasks in this pass
)

// A task is what the worker gets at a time: some refreshes, or one removal.
type task struct {
	kind       kind
	items      []item
	now        time.Time // of the pass
	staleAfter time.Duration
}

// removal returns the name of the dir that the task removes or may put back, or "".
func (t task) removal() string {
	switch t.kind {
	case removing:
		return t.items[0].entry.Name
	case finishing:
		return nameOf(t.items[0].entry.Name)
	}
	return ""
}

// An outcome is the result of one item. If a removal was called off, the row says why.
type outcome struct {
	item
	fresh   daemondir.Entry // of a refresh: the entry as it is now
	err     error           // of a refresh: errNotNow, or what is wrong
	removal removal
}

// A report is the result of a task. Items without an outcome were not begun.
type report struct {
	task
	outcomes   []outcome
	unreadable int // see Stats
}

// A worker carries out tasks. No one else writes to daemon dirs. It keeps open what the items
// of one pass share. It is for one goroutine.
type worker struct {
	*Collector
	staleAfter time.Duration
	dryRun     bool

	refresher  *refresher // nil: not opened yet
	remover    *remover   // nil: not opened yet, or see removerErr
	removerErr error      // why it cannot be opened in this pass
	generation int        // of the lock, when they were opened
}

// work carries out and reports each task, until tasks is closed.
func (w *worker) work(ctx context.Context, tasks <-chan task, reports chan<- report) {
	defer close(reports)
	defer w.close()
	for t := range tasks {
		reports <- w.do(ctx, t)
	}
}

// do carries out a task. It stops between two items when ctx is done.
func (w *worker) do(ctx context.Context, t task) report {
	r := report{task: t}
	if t.kind == ending {
		w.close()
		return r
	}
	if t.kind == takingOver {
		if w.lock.takeOver() {
			w.reportRole(RoleCollector)
			w.logTakenOver()
		}
		return r
	}
	w.staleAfter = t.staleAfter
	if !w.dryRun {
		done, generation, ok := w.lock.use(t.kind == removing || t.kind == finishing)
		if !ok {
			return r // the root was lost, or another collector has it: we must not touch it
		}
		defer done()
		if generation != w.generation {
			// What is open may be in a root that was lost and has been replaced.
			w.close()
			w.generation = generation
			fsys.RemoveTemps(ctx, w.root, w.now())
		}
	}
	for _, it := range t.items {
		if ctx.Err() != nil {
			break
		}
		var o outcome
		switch t.kind {
		case recording:
			o = w.refresh(it, it.row.LastSeen.MS)
		case refreshing:
			o = w.refresh(it, unixMS(t.now))
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

// close closes what is open for the pass.
func (w *worker) close() {
	if w.refresher != nil {
		w.refresher.close()
	}
	if w.remover != nil {
		w.remover.close()
	}
	w.refresher, w.remover, w.removerErr = nil, nil, nil
}

// refresh sets last_seen_unix_ms of a daemon that was alive at ms.
func (w *worker) refresh(it item, ms uint64) outcome {
	o := outcome{item: it, fresh: it.entry}
	if w.dryRun {
		return o
	}
	if w.refresher == nil {
		if w.refresher, o.err = newRefresher(w.root); o.err != nil {
			if o.err = notNowIfGone(w.root, o.err); errors.Is(o.err, errDiffers) {
				o.err = errNotNow // the root is gone, which the watcher sees
			}
			return o
		}
	}
	o.fresh, o.err = w.refresher.refresh(it.entry, ms)
	if o.err == nil && o.fresh != it.entry {
		w.reg.Expect(o.fresh) // before the watcher handles the event of this write
	}
	return o
}

// remove removes a dir, unless one of the last checks keeps it.
func (w *worker) remove(it item) outcome {
	return w.withRemover(it, func(m *remover) removal {
		m.witnessed = it.witnessed // for the last look
		return m.remove(it.entry)
	})
}

// finish removes, or puts back, what an interrupted removal left.
func (w *worker) finish(it item) outcome {
	it.row.Decision, it.row.Reason = Remove, Leftover
	return w.withRemover(it, func(m *remover) removal {
		m.witnessed = false
		return m.finish(it.entry.Name)
	})
}

func (w *worker) withRemover(it item, do func(*remover) removal) outcome {
	o := outcome{item: it}
	if m, err := w.openRemover(); err != nil {
		o.removal = fail(err) // the root is gone, or the process table cannot be read
	} else {
		o.removal = do(m)
	}
	if o.removal.kept != "" {
		o.row.keep(o.removal)
	}
	return o
}

// openRemover opens the remover of this pass. If that has failed, it returns the same error.
func (w *worker) openRemover() (*remover, error) {
	if w.remover == nil && w.removerErr == nil {
		w.remover, w.removerErr = w.newRemover(w.staleAfter, w.dryRun)
	}
	return w.remover, w.removerErr
}

// another returns a worker for another goroutine of the same pass, which knows what w has found
// out of the root and its users. It returns false if it cannot have its own descriptors of that
// root: who uses what in another is not known by the same look.
func (w *worker) another() (*worker, bool) {
	if w.remover == nil {
		return nil, false
	}
	m := *w.remover
	var err error
	if m.root, err = fsys.OpenRoot(w.root); err != nil {
		return nil, false
	}
	if !m.root.Same(w.remover.root) {
		m.close()
		return nil, false
	}
	return &worker{Collector: w.Collector, staleAfter: w.staleAfter, dryRun: w.dryRun, remover: &m, generation: w.generation}, true
}

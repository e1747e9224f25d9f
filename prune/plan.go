package prune

// One pass as a value: all judged on one and the same now, and what is to be done.

import (
	"context"
	"path/filepath"
	"time"

	"runtimegc/registry/daemondir"
)

// A Row is what is known of one daemon dir at one moment: the object of `list --json`
// and, with its Decision, of `prune --json`. What is unknown is null.
type Row struct {
	Name      string              `json:"name"`
	Dir       string              `json:"dir"`
	PID       daemondir.PID       `json:"pid"`
	State     State               `json:"state"`
	Reason    Reason              `json:"reason"`
	SpawnedAt daemondir.Timestamp `json:"spawned_at_unix_ms"`
	LastSeen  daemondir.Timestamp `json:"last_seen_unix_ms"`
	StartedAt daemondir.Timestamp `json:"started_at_unix_ms"`
	StaleAt   daemondir.Timestamp `json:"stale_at_unix_ms"`
	Decision  Decision            `json:"decision,omitempty"`

	Err error `json:"-"` // what the system refused, if it did
}

// keep makes the row say that its dir stays, because of what became of the removal.
func (r *Row) keep(what removal) { r.Decision, r.Reason, r.Err = Keep, what.kept, what.err }

// row judges one daemon dir.
func (c *Collector) row(e daemondir.Entry, l Liveness, now time.Time, staleAfter time.Duration) Row {
	v := Judge(e, l, now, staleAfter, c.protects.match(e.Name) != "")
	return Row{
		Name: e.Name, Dir: filepath.Join(c.root, e.Name), PID: e.PID,
		State: v.State, Reason: v.Reason, Decision: v.Decision,
		SpawnedAt: e.SpawnedAt, LastSeen: e.LastSeen, StartedAt: l.StartedAt, StaleAt: v.StaleAt,
	}
}

// An item is one daemon dir in a pass: how it was judged, and by which entry.
type item struct {
	entry daemondir.Entry
	row   Row
}

// A Plan is what a sweep would come to now. The decision of each row is what would be
// done, and its reason why.
type Plan struct {
	At   time.Time
	Rows []Row // one for each entry of the registry, in no order
}

// Plan judges every entry of the registry. It changes nothing, takes no lock, and reads
// nothing but the registry, so it may be called while Run runs. Of those that are due, and
// only if there are any, it makes the checks that removal makes. It ends early when ctx is
// done.
func (c *Collector) Plan(ctx context.Context) Plan {
	p := Plan{At: c.now()}
	w := &worker{Collector: c, staleAfter: c.Times().StaleAfter, dryRun: true}
	defer w.close()
	for _, name := range c.reg.Names() {
		if ctx.Err() != nil {
			break
		}
		it := c.inspect(name, p.At, w.staleAfter)
		switch {
		case daemondir.Quarantined(name):
			it = w.finish(it).item
		case it.row.Decision == Remove:
			it = w.remove(it).item
		}
		p.Rows = append(p.Rows, it.row)
	}
	return p
}

// inspect probes and judges one entry, whatever is known of it from before.
func (c *Collector) inspect(name string, now time.Time, staleAfter time.Duration) item {
	e, ok := c.reg.Get(name)
	if !ok {
		e = daemondir.Entry{Name: name, Problem: daemondir.ProblemNoSidecar}
	}
	var l Liveness
	if e.Problem == daemondir.ProblemNone {
		p := c.probe(e, e.PID, c.path(name))
		p.close()
		l = p.Liveness
	}
	return item{e, c.row(e, l, now, staleAfter)}
}

// Stats counts what a sweep found and did, in daemon dirs.
type Stats struct {
	Checked   int
	Alive     int
	Dead      int
	Unknown   int
	Invalid   int
	Refreshed int // sidecars whose last_seen was set
	Removed   int
	Kept      int // neither refreshed nor removed, without a failure
	Failed    int // the system refused a refresh or a removal

	// Unreadable counts the processes of other users that could not be asked what they
	// use, if anything was to be removed. They are no veto.
	Unreadable int
}

func (s *Stats) count(state State) {
	s.Checked++
	switch state {
	case Alive:
		s.Alive++
	case Dead:
		s.Dead++
	case Unknown:
		s.Unknown++
	case Invalid:
		s.Invalid++
	}
}

// A pass is a sweep under way: what is yet to be judged, and what is yet to be done.
type pass struct {
	began      time.Time
	now        time.Time // of the judgement
	staleAfter time.Duration
	visit      func(Row) // nil: the rows are not needed

	unjudged  []string
	refreshes []item
	removals  []item
	leftovers []item

	stats Stats
	begun bool // the worker was given something, and must hear of the end
}

const (
	// judgeBatch is how many dirs are judged before the observer looks for events: live ones
	// without a handle take 20 to 60 us each.
	judgeBatch = 64

	// refreshBatch is how many refreshes are handed to the worker at a time: some 2 ms.
	refreshBatch = 64
)

// mayJudge says whether there is more to judge now. The worker is not to be far behind:
// what waits for it takes memory, and the plan of it ages.
func (p *pass) mayJudge() bool { return len(p.unjudged) > 0 && len(p.refreshes) < refreshBatch }

// next takes what is to be done next. Removals come after all has been judged: one look at
// the process table serves them all.
func (p *pass) next() (t task, ok bool) {
	take := func(items *[]item, kind kind, n int) (task, bool) {
		n = min(n, len(*items))
		t := task{kind: kind, items: (*items)[:n:n], now: p.now, staleAfter: p.staleAfter}
		*items = (*items)[n:]
		p.begun = true
		return t, true
	}
	switch {
	case len(p.refreshes) > 0:
		return take(&p.refreshes, refreshing, refreshBatch)
	case len(p.unjudged) > 0:
	case len(p.removals) > 0:
		return take(&p.removals, removing, 1)
	case len(p.leftovers) > 0:
		return take(&p.leftovers, finishing, 1)
	case p.begun:
		p.begun = false
		return task{kind: ending}, true
	}
	return task{}, false
}

// over says whether all has been judged, and handed to the worker.
func (p *pass) over() bool {
	return !p.begun && len(p.unjudged)+len(p.refreshes)+len(p.removals)+len(p.leftovers) == 0
}

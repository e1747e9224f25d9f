package prune

import (
	"context"
	"path/filepath"
	"time"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir"
)

// A Row is what is known of one daemon dir at one moment: the object in `list --json` and,
// with its Decision, in `prune --json`. What is unknown is null.
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

	// Details say what a check before the removal has found, which keeps the dir although it is
	// due. UsedBy is the pid of who uses it, or has locked it, if that is the reason and known.
	Details string `json:"details,omitempty"`
	UsedBy  int32  `json:"used_by,omitempty"`

	// Bytes is what its removal would free: the sizes of files without another link. It is
	// nil unless [Planner.Measure] has set it.
	Bytes *int64 `json:"bytes,omitempty"`

	// Ending is how its process has ended, if a collector that watched it knows.
	Ending *Ending `json:"ending,omitempty"`

	ProtectedBy string `json:"-"` // what protects the dir, in words; empty: nothing

	Err error `json:"-"` // the error of the system, if there was one
}

// keep sets the decision and its reason after a removal that was called off.
func (r *Row) keep(what removal) {
	r.Decision, r.Reason, r.Err, r.Details, r.UsedBy = Keep, what.kept, what.err, what.details, what.user
}

// judge applies [Judge] and, if it is asked for, the rule for junk. The liveness of a dir
// without a usable sidecar may be the zero value, if it was not probed. It also returns what
// protects the dir.
func (c *Collector) judge(e daemondir.Entry, l Liveness, now time.Time, staleAfter time.Duration) (v Verdict, protectedBy string) {
	protectedBy = c.protectedBy(e)
	v = Judge(e, l, now, staleAfter, protectedBy != "")
	if at, ok := junkAt(e, c.invalidAfter); ok && protectedBy == "" && (l.State == Dead || l.State == "") {
		v.StaleAt = daemondir.At(at)
		if unixMS(now) >= at {
			v.Decision = Remove
		}
	}
	return v, protectedBy
}

// row judges one daemon dir.
func (c *Collector) row(e daemondir.Entry, l Liveness, now time.Time, staleAfter time.Duration) Row {
	v, by := c.judge(e, l, now, staleAfter)
	return Row{
		Name: e.Name, Dir: filepath.Join(c.root, e.Name), PID: e.PID,
		State: v.State, Reason: v.Reason, Decision: v.Decision,
		SpawnedAt: e.SpawnedAt, LastSeen: e.LastSeen, StartedAt: l.StartedAt, StaleAt: v.StaleAt,
		ProtectedBy: by, Ending: c.endings.of(e.Name),
	}
}

// An item is one daemon dir in a pass.
type item struct {
	entry     daemondir.Entry // by which it was judged
	row       Row
	witnessed bool // this collector has seen the daemon alive
}

// A Plan is what a sweep would do now, and why: see Decision and Reason of each row.
type Plan struct {
	At   time.Time
	Rows []Row // one for each entry of the registry, in no order
}

// Plan judges every entry of the registry as a [Planner] does. It ends early when ctx is done.
func (c *Collector) Plan(ctx context.Context) Plan {
	planner := c.NewPlanner()
	defer planner.Close()
	p := Plan{At: planner.At}
	for _, name := range c.reg.Names() {
		if ctx.Err() != nil {
			break
		}
		p.Rows = append(p.Rows, planner.row(c.inspect(name, p.At, planner.worker.staleAfter)))
	}
	return p
}

// A Planner judges daemon dirs one by one, and makes the checks before a removal for those
// that are due; while Run follows another collector, none is. It changes nothing and takes no
// lock, so it may be used while Run runs. It is for one goroutine. Make it with
// [Collector.NewPlanner] and close it.
type Planner struct {
	At time.Time // at which all are judged: when it was made

	worker *worker
	root   *fsys.Root // for Measure; nil: not opened yet
}

// NewPlanner returns a Planner of the root of c.
func (c *Collector) NewPlanner() *Planner {
	c.updateScope()
	return &Planner{At: c.now(), worker: &worker{Collector: c, staleAfter: c.Times().StaleAfter, dryRun: true}}
}

// Judge judges a dir as it was read, whether or not the registry has it.
func (p *Planner) Judge(e daemondir.Entry) Row {
	return p.row(p.worker.inspectEntry(e, p.At, p.worker.staleAfter))
}

func (p *Planner) row(it item) Row {
	w := p.worker
	switch following := w.lock.following.Load(); {
	case following && it.row.Decision == Remove:
		it.row.Decision = Keep
	case following:
	case daemondir.Quarantined(it.entry.Name):
		it = w.finish(it).item
	case it.row.Decision == Remove:
		it = w.remove(it).item
	}
	return it.row
}

// Close closes what was opened for the checks.
func (p *Planner) Close() {
	p.worker.close()
	if p.root != nil {
		p.root.Close()
	}
}

// inspect probes and judges one entry, without using what is already known of the daemon.
func (c *Collector) inspect(name string, now time.Time, staleAfter time.Duration) item {
	e, ok := c.reg.Get(name)
	if !ok {
		e = daemondir.Entry{Name: name, Problem: daemondir.ProblemNoSidecar}
	}
	return c.inspectEntry(e, now, staleAfter)
}

func (c *Collector) inspectEntry(e daemondir.Entry, now time.Time, staleAfter time.Duration) item {
	var l Liveness
	if e.Problem == daemondir.ProblemNone {
		p := c.probe(e, e.PID, c.path(e.Name))
		p.close()
		l = *p.Liveness
	}
	return item{entry: e, row: c.row(e, l, now, staleAfter)}
}

// Stats counts the daemon dirs of a sweep, by what it found and did.
type Stats struct {
	Checked   int
	Alive     int
	Dead      int
	Unknown   int
	Invalid   int
	Refreshed int // sidecars whose last_seen was set
	Removed   int
	Kept      int // neither refreshed nor removed, without an error
	Failed    int // the system refused the refresh or removal

	// Unreadable counts the processes of other users that could not be inspected, if there
	// was anything to remove. They do not prevent a removal.
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

// A pass is a sweep under way: what remains to be judged and to be done.
type pass struct {
	began      time.Time // by the monotonic clock
	now        time.Time // at which all are judged
	staleAfter time.Duration
	visit      func(Row) // nil: nobody needs the rows

	partial bool        // it does not come to all dirs
	ended   func(Stats) // nil: nobody waits for it

	asking    bool // we follow, and the worker is yet to try to take over
	following bool // it has tried, and we still do: nothing is removed

	unjudged  []string
	refreshes []item
	removals  []item
	leftovers []item

	stats Stats
	begun bool // the worker got a task, so it must get the ending task as well
}

const (
	// judgeBatch is how many dirs are judged before the observer handles events: live ones
	// without a handle take 20 to 60 us each.
	judgeBatch = 64

	// refreshBatch is how many refreshes the worker gets at a time. They take some 2 ms.
	refreshBatch = 64
)

// mayJudge reports whether to judge more dirs now. Judging must not get far ahead of the
// worker: waiting items take memory, and their judgement becomes old.
func (p *pass) mayJudge() bool {
	return !p.asking && len(p.unjudged) > 0 && len(p.refreshes) < refreshBatch
}

// asked records what came of the attempt to take over.
func (p *pass) asked(following bool) {
	p.asking, p.following = false, following
	if following {
		p.leftovers = nil // the other collector deals with them
	}
}

// next returns the next task. Removals come last, when all dirs have been judged, so that
// the process table is read only once for all of them.
func (p *pass) next() (t task, ok bool) {
	take := func(items *[]item, kind kind, n int) (task, bool) {
		n = min(n, len(*items))
		t := p.task(kind, (*items)[:n:n])
		*items = (*items)[n:]
		p.begun = true
		return t, true
	}
	switch {
	case p.asking:
		return task{kind: takingOver}, true
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

func (p *pass) task(kind kind, items []item) task {
	return task{kind: kind, items: items, now: p.now, staleAfter: p.staleAfter}
}

// over reports whether all dirs have been judged, and all items given to the worker.
func (p *pass) over() bool {
	return !p.asking && !p.begun && len(p.unjudged)+len(p.refreshes)+len(p.removals)+len(p.leftovers) == 0
}

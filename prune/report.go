package prune

import (
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

func (c *Collector) row(e daemondir.Entry, l Liveness, now time.Time) Row {
	v := Judge(e, l, now, c.opts.StaleAfter, c.protects.match(e.Name))
	return Row{
		Name: e.Name, Dir: filepath.Join(c.root, e.Name), PID: e.PID,
		State: v.State, Reason: v.Reason, Decision: v.Decision,
		SpawnedAt: e.SpawnedAt, LastSeen: e.LastSeen, StartedAt: l.StartedAt, StaleAt: v.StaleAt,
	}
}

// keep makes the row say that its dir stays, because of what became of the removal.
func (r *Row) keep(what removal) { r.Decision, r.Reason, r.Err = Keep, what.kept, what.err }

// List probes and judges every entry of the registry and changes nothing. The decision
// of each row is what a sweep would come to now: of those that are due, and only if
// there are any, it asks what removal asks (who uses them, who has locked them), in one
// pass over the process table, and without taking a lock.
func (c *Collector) List() []Row {
	now := c.now()
	names := c.opts.Registry.Names()
	rows := make([]Row, len(names))
	var due []int
	for i, name := range names {
		rows[i] = c.inspect(name, now)
		if rows[i].Decision == Remove || daemondir.Quarantined(name) {
			due = append(due, i)
		}
	}
	if len(due) == 0 {
		return rows
	}
	m, err := c.newRemover(true, nil)
	if err != nil {
		for _, i := range due {
			rows[i].keep(fail(err))
		}
		return rows
	}
	defer m.close()
	for _, i := range due {
		if e, ok := c.opts.Registry.Get(names[i]); ok {
			m.foresee(&rows[i], e)
		}
	}
	return rows
}

// inspect probes and judges one entry, whatever is known of it from before.
func (c *Collector) inspect(name string, now time.Time) Row {
	e, ok := c.opts.Registry.Get(name)
	if !ok {
		e = daemondir.Entry{Name: name, Problem: daemondir.ProblemNoSidecar}
	}
	var l Liveness
	if e.Problem == daemondir.ProblemNone {
		h := c.probe(e, e.PID, c.path(name))
		h.release()
		l = h.Liveness
	}
	return c.row(e, l, now)
}

// newRemover returns a remover with the collector's options.
func (c *Collector) newRemover(dryRun bool, attend func()) (*remover, error) {
	m, err := newRemover(c.root, c.opts.StaleAfter, dryRun, c.prober, attend)
	if err == nil {
		m.protects = c.protects
	}
	return m, err
}

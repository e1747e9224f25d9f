package prune

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"runtimegc/registry/daemondir"
)

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

// Sweep judges every entry of the registry on one and the same now, refreshes the live
// and removes the dead that are stale. It lists nothing, and passes over what cannot have
// become due since it was last judged: a dead daemon whose files have not changed costs a
// comparison. It ends early, between two dirs, when ctx is done. visit, if not nil, is
// given a row for every dir once its fate is known.
func (c *Collector) Sweep(ctx context.Context, visit func(Row)) Stats {
	began := time.Now()
	now := c.now()
	ms := unixMS(now)
	c.attend()
	var stats Stats
	var stale []candidate
	for name, d := range c.daemons {
		if ctx.Err() != nil {
			break
		}
		if visit == nil && ms < d.nextLook {
			stats.count(d.state())
			stats.Kept++
			continue
		}
		// Which may also forget d, or the next.
		c.attend()
		e, known := c.opts.Registry.Get(name)
		if d = c.daemons[name]; d == nil || !known {
			continue
		}
		c.check(name, d, e, swept)
		row := c.row(e, d.Liveness, now)
		stats.count(row.State)
		switch row.Decision {
		case Remove:
			stale = append(stale, candidate{e, row})
			continue
		case Refresh:
			row.Err = c.refresh(e, d, now, &stats)
		case Keep:
			stats.Kept++
			if (row.State == Unknown || row.Reason == Protected) && row.StaleAt.Known && row.StaleAt.MS <= ms {
				c.sayKept(name, d, removal{kept: row.Reason, err: d.Err})
			}
		}
		if visit != nil {
			visit(row)
		}
	}
	if c.refresher != nil {
		c.refresher.close()
		c.refresher = nil
	}
	if visit == nil {
		visit = func(Row) {}
	}
	if len(stale)+len(c.leftovers) > 0 && ctx.Err() == nil {
		c.removeAll(ctx, stale, &stats, visit)
	}
	c.swept(stats, time.Since(began))
	return stats
}

// SayInvalid logs the invalid sidecars that were found, without waiting for them to
// settle: for a single pass.
func (c *Collector) SayInvalid() { c.sayInvalid(true) }

// candidate is a daemon dir that the judge wants removed, and its row.
type candidate struct {
	daemondir.Entry
	row Row
}

// state is what is known of the daemon, without a new look: empty before the first. Only
// check changes it, which keeps the tally.
func (d *daemon) state() State {
	if d.invalid {
		return Invalid
	}
	return d.State
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

// refresh sets last_seen of a live daemon to now. The error is one that was counted as
// a failure.
func (c *Collector) refresh(e daemondir.Entry, d *daemon, now time.Time, stats *Stats) error {
	if c.opts.DryRun {
		stats.Refreshed++
		return nil
	}
	fresh, err := c.refreshSidecar(e, unixMS(now))
	switch {
	case err == nil && fresh != e:
		stats.Refreshed++
		if d.odd != nil {
			d.odd.refused = ""
		}
		if c.opts.Refreshed != nil {
			c.opts.Refreshed(fresh)
		}
		c.log(c.opts.Log.Debug(), "sidecar.refreshed", e.Name).
			Uint64("last_seen_unix_ms", unixMS(now)).Msg("sidecar refreshed")
	case err == nil, errors.Is(err, errNotNow):
		stats.Kept++
	default:
		stats.Failed++
		if d.said().refused != err.Error() {
			d.oddity().refused = err.Error()
			c.log(c.opts.Log.Warn(), "sidecar.unwritable", e.Name).Str("reason", string(reasonOf(err))).Err(err).
				Msg("sidecar cannot be refreshed; trying again at every sweep")
		}
		return err
	}
	return nil
}

// refreshSidecar is refresher.refresh, with the refresher of this sweep.
func (c *Collector) refreshSidecar(e daemondir.Entry, ms uint64) (fresh daemondir.Entry, err error) {
	if c.refresher == nil {
		if c.refresher, err = newRefresher(c.root); err != nil {
			return e, notNowIfGone(c.root, err)
		}
	}
	return c.refresher.refresh(e, ms)
}

// removeAll takes the candidates and the leftovers through removal.
func (c *Collector) removeAll(ctx context.Context, stale []candidate, stats *Stats, visit func(Row)) {
	m, err := c.newRemover(c.opts.DryRun, c.attend)
	if err != nil {
		// The root is gone, or the process table cannot be read: nothing is removed now.
		for _, s := range stale {
			c.settleRemoval(s, fail(err), stats, visit)
		}
		return
	}
	defer m.close()
	stats.Unreadable = m.users.unreadable
	leftovers := slices.Sorted(maps.Keys(c.leftovers)) // not those that are to come
	for _, s := range stale {
		if ctx.Err() != nil {
			return
		}
		c.attend()
		c.removing = s.Name
		r := m.remove(s.Entry)
		c.removing = ""
		c.settleRemoval(s, r, stats, visit)
		c.observe(s.Name, entryChanged)
	}
	for _, name := range leftovers {
		if ctx.Err() != nil {
			return
		}
		c.finish(m, name, stats, visit)
	}
}

// dryRun is the reason in [daemon] of a dir of which was said that it would be removed.
const dryRun Reason = "dry_run"

// settleRemoval counts and says what became of one removal.
func (c *Collector) settleRemoval(s candidate, r removal, stats *Stats, visit func(Row)) {
	d := c.daemons[s.Name]
	switch {
	case r.kept == "" && c.opts.DryRun:
		stats.Removed++
		if d != nil && d.said().kept != dryRun {
			d.oddity().kept = dryRun
			c.sayRemoved(s, r)
		}
	case r.kept == "":
		stats.Removed++
		c.tally.removed(r)
		c.sayRemoved(s, r)
		c.forget(s.Name)
		c.removed[s.Name] = s.Entry
	case r.err != nil:
		stats.Failed++
	default:
		stats.Kept++
	}
	if r.kept != "" {
		s.row.keep(r)
		if d != nil {
			c.sayKept(s.Name, d, r)
		}
		if r.hidden != "" {
			c.leftovers[r.hidden] = r.kept
			c.forget(s.Name)
			c.removed[s.Name] = s.Entry
		}
	}
	visit(s.row)
}

// finish deals with one leftover of an interrupted removal.
func (c *Collector) finish(m *remover, hidden string, stats *Stats, visit func(Row)) {
	name := strings.TrimPrefix(hidden, daemondir.QuarantinePrefix)
	row := c.inspect(hidden, c.now())
	row.Decision, row.Reason = Remove, Leftover
	r := m.finish(hidden)
	if r.kept == Gone {
		delete(c.leftovers, hidden)
		return
	}
	stats.count(row.State)
	if r.kept != "" {
		row.keep(r)
	}
	visit(row)
	switch {
	case r.kept == "":
		stats.Removed++
		if !c.opts.DryRun {
			c.tally.removed(r)
		}
		delete(c.leftovers, hidden)
		c.log(c.opts.Log.Info(), "daemon.removed", name).Str("reason", string(Leftover)).
			Int("files", r.files).Int64("bytes", r.bytes).Bool("dry_run", c.opts.DryRun).
			Msg("finished a removal that was interrupted")
		return
	case r.err != nil:
		stats.Failed++
	default:
		stats.Kept++
	}
	said, message := c.leftovers[hidden], "what an interrupted removal left stays hidden"
	if r.hidden == "" && r.err == nil && !c.opts.DryRun {
		delete(c.leftovers, hidden)
		message = "put back what an interrupted removal had moved away"
	} else {
		c.leftovers[hidden] = r.kept
	}
	if said != r.kept {
		c.tally.kept(r.kept)
		line := c.log(c.opts.Log.Info(), "daemon.kept", name).Str("reason", string(r.kept))
		if r.err != nil {
			line = line.Err(r.err)
		}
		line.Msg(message)
	}
}

func (c *Collector) sayRemoved(s candidate, r removal) {
	line := c.log(c.opts.Log.Info(), "daemon.removed", s.Name).
		Str("reason", string(s.row.Reason)).
		Uint64("age_ms", unixMS(c.now())-min(s.LastSeen.MS, unixMS(c.now()))).
		Uint64("last_seen_unix_ms", s.LastSeen.MS)
	if s.PID.Known {
		line = line.Uint32("pid", s.PID.N)
	}
	if c.opts.DryRun {
		line.Bool("dry_run", true).Msg("daemon dir would be removed")
		return
	}
	line.Int("files", r.files).Int64("bytes", r.bytes).Msg("daemon dir removed")
}

// sayKept says why a dir that is due stays, once per reason.
func (c *Collector) sayKept(name string, d *daemon, r removal) {
	if d.said().kept == r.kept || r.kept == Gone {
		return
	}
	d.oddity().kept = r.kept
	c.tally.kept(r.kept)
	line := c.log(c.opts.Log.Info(), "daemon.kept", name).Str("reason", string(r.kept))
	if r.err != nil {
		line = line.Err(r.err)
	}
	line.Msg("daemon dir is due, but kept")
}

// sayDone ends a sweep; at debug level if it changed nothing.
func (c *Collector) sayDone(s Stats, took time.Duration) {
	line := c.opts.Log.Debug()
	if !c.opts.DryRun && s.Refreshed+s.Removed > 0 {
		line = c.opts.Log.Info()
	}
	line.Str("event", "sweep.done").
		Int("checked", s.Checked).Int("alive", s.Alive).Int("dead", s.Dead).
		Int("unknown", s.Unknown).Int("invalid", s.Invalid).
		Int("refreshed", s.Refreshed).Int("removed", s.Removed).Int("kept", s.Kept).Int("failed", s.Failed).
		Int("unreadable_processes", s.Unreadable).
		Float64("duration_ms", float64(took.Microseconds())/1000).
		Msg("sweep done")
}

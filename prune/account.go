package prune

import (
	"errors"
	"time"

	"runtimegc/registry/daemondir"
)

// logDryRun is the reason in lastLogged after a dry run has logged a removal.
const logDryRun Reason = "dry_run"

// account counts and logs the outcomes of a task, and updates what is known of the daemons.
func (o *observer) account(r report) {
	o.beingRemoved = ""
	if r.kind == takingOver {
		o.pass.asked(o.lock.following.Load())
		return
	}
	if r.kind == removing || r.kind == finishing {
		o.pass.stats.Unreadable = r.unreadable
	}
	for _, out := range r.outcomes {
		switch r.kind {
		case recording:
			var stats Stats
			o.accountRefresh(&out, &stats)
			o.count(func(t *Totals) { t.Refreshed += stats.Refreshed })
			continue
		case refreshing:
			o.accountRefresh(&out, &o.pass.stats)
		case removing:
			o.accountRemoval(&out)
		case finishing:
			o.accountLeftover(&out)
		}
		if o.pass.visit != nil && (r.kind != finishing || out.removal.kept != Gone) {
			o.pass.visit(out.row)
		}
	}
	// Changes of the dir that were ignored meanwhile.
	if name := r.removal(); name != "" {
		o.observe(name, entryChanged)
		for _, out := range r.outcomes {
			o.postpone(name, out.removal.notBefore)
		}
	}
}

// postpone lets sweeps skip a dir, if it still is one of a dead daemon, until the check that
// has kept it can end otherwise: they need not survey a large tree again and again.
func (o *observer) postpone(name string, until time.Time) {
	if d := o.daemons[name]; d != nil && d.judgeAgainAt > 0 && !until.IsZero() {
		d.judgeAgainAt = max(d.judgeAgainAt, unixMS(until))
	}
}

// accountKept counts a dir that is to be kept, and logs that if it is due for removal.
func (o *observer) accountKept(row Row, d *daemon) {
	p := o.pass
	p.stats.Kept++
	due := row.StaleAt.Known && row.StaleAt.MS <= unixMS(p.now)
	if due && !p.following && (row.State == Unknown || row.Reason == Protected) {
		o.logKept(row.Name, d, removal{kept: row.Reason, err: d.Err})
	}
	if p.visit != nil {
		p.visit(row)
	}
}

func (o *observer) accountRefresh(out *outcome, stats *Stats) {
	name := out.entry.Name
	d := o.daemons[name]
	switch {
	case o.dryRun:
		stats.Refreshed++
	case out.err == nil && out.fresh != out.entry:
		stats.Refreshed++
		if d != nil && d.lastLogged != nil {
			d.lastLogged.refreshErr = ""
		}
		o.logRefreshed(name, out.fresh.LastSeen)
	case errors.Is(out.err, errDiffers):
		stats.Kept++
		o.reg.Doubt(name)
	case out.err == nil, errors.Is(out.err, errNotNow):
		stats.Kept++
	default:
		stats.Failed++
		out.row.Err = out.err
		if d != nil && d.last().refreshErr != out.err.Error() {
			d.logged().refreshErr = out.err.Error()
			o.logUnwritable(name, out.err)
		}
	}
}

func (o *observer) accountRemoval(out *outcome) {
	name, r := out.entry.Name, out.removal
	d := o.daemons[name]
	stats := &o.pass.stats
	switch {
	case r.kept == "" && o.dryRun:
		stats.Removed++
		if d != nil && d.last().kept != logDryRun {
			d.logged().kept = logDryRun
			o.logRemoved(out)
		}
	case r.kept == "":
		stats.Removed++
		o.logRemoved(out)
	case r.err != nil:
		stats.Failed++
	default:
		stats.Kept++
	}
	if r.kept != "" && d != nil && r.kept != junkReason(out.entry) { // else it is no junk yet
		o.logKept(name, d, r)
	}
	if r.kept == Changed || r.kept == Respawned || r.kept == Gone {
		o.reg.Doubt(name) // it is not what its entry says
	}
	if r.putBack {
		o.awaitReturn(name)
	}
	if r.hidden != "" {
		o.leftovers[r.hidden] = leftover{kept: r.kept, was: d}
	}
	if r.hidden != "" || r.kept == "" && !o.dryRun {
		o.forget(name)
		o.removed[name] = out.entry
	}
}

func (o *observer) accountLeftover(out *outcome) {
	hidden, r := out.entry.Name, out.removal
	if r.kept == Gone {
		o.forgetLeftover(hidden)
		return
	}
	stats := &o.pass.stats
	stats.count(out.row.State)
	switch {
	case r.kept == "":
		stats.Removed++
		o.logFinished(o.leftoverName(hidden), r)
		delete(o.leftovers, hidden)
		return
	case r.err != nil:
		stats.Failed++
	default:
		stats.Kept++
	}
	left := o.leftovers[hidden]
	logged, name := left.kept, o.leftoverName(hidden)
	if r.putBack {
		name = nameOf(hidden)
		delete(o.leftovers, hidden)
		o.reinstate(name, left, out.entry)
	} else {
		left.kept = r.kept
		o.leftovers[hidden] = left
	}
	if logged != r.kept {
		o.logLeftoverKept(name, r)
	}
}

// leftoverName returns the name by which the log speaks of a leftover: the original one, unless
// that is another daemon's by now, or has been.
func (o *observer) leftoverName(hidden string) string {
	if o.leftovers[hidden].replaced {
		return hidden
	}
	return nameOf(hidden)
}

// nameOf returns the original name of a quarantined dir.
func nameOf(hidden string) string { return hidden[len(daemondir.QuarantinePrefix):] }

package prune

// Every line that this package logs, with the counting and tracing of the same.

import (
	"time"

	"github.com/rs/zerolog"

	"runtimegc/prune/internal/proc"
	"runtimegc/registry/daemondir"
)

// line begins a line about one daemon.
func (o *observer) line(level *zerolog.Event, event, name string) *zerolog.Event {
	return level.Str("event", event).Str("daemon", daemondir.Printable(name)).
		Str("dir", daemondir.Printable(o.path(name)))
}

func (c *Collector) logTakenOver() {
	c.log.Info().Str("event", "root.taken_over").Str("dir", daemondir.Printable(c.root)).
		Str("role", string(RoleCollector)).
		Msg("the other collector has released the runtime root; removing dirs from now on")
}

func withMS(line *zerolog.Event, key string, t daemondir.Timestamp) *zerolog.Event {
	if t.Known {
		line = line.Uint64(key, t.MS)
	}
	return line
}

// withEnding adds how a process has ended, if that is known.
func withEnding(line *zerolog.Event, ended *Ending) *zerolog.Event {
	switch {
	case ended == nil:
		return line
	case ended.Signal != "":
		return line.Str("signal", ended.Signal)
	}
	return line.Int("exit_code", ended.Code)
}

func (o *observer) logAdded(name string) {
	o.line(o.log.Info(), "daemon.added", name).Msg("daemon dir found")
}

func (o *observer) logGone(name string) {
	o.line(o.log.Info(), "daemon.gone", name).Msg("daemon dir was removed by another process")
}

// logLive logs that d is alive; pid was verified as its process.
func (o *observer) logLive(name string, d *daemon, pid daemondir.PID) {
	line := o.line(o.log.Info(), "daemon.live", name).Uint32("pid", pid.N)
	if d.lastPID.Known && d.lastPID != pid {
		line = line.Uint32("previous_pid", d.lastPID.N)
	}
	withMS(line, "started_at_unix_ms", d.StartedAt).Msg("daemon is alive")
	o.count(func(t *Totals) { t.Born++ })
	o.traceLife("daemon.live", name, d.Reason)
}

// logExited logs that d is no longer alive; pid is the process that has exited, and live, if
// known, the one that was alive until now.
func (o *observer) logExited(name string, d *daemon, pid, live daemondir.PID, stale daemondir.Timestamp) {
	line := o.line(o.log.Info(), "daemon.exited", name)
	switch {
	case !live.Known:
		line = line.Uint32("pid", pid.N)
	case pid.Known && pid != live:
		// A respawned process that has exited before we saw it. All we know of the previous
		// one is that it is no longer the daemon.
		line = line.Uint32("pid", pid.N).Uint32("previous_pid", live.N)
	default:
		line = line.Uint32("pid", live.N)
	}
	line = withEnding(line, o.endings.of(name)).Str("reason", string(d.Reason))
	withMS(line, "stale_at_unix_ms", stale).Msg("daemon has exited")
	o.count(func(t *Totals) { t.Exited++ })
	o.traceLife("daemon.exited", name, d.Reason)
}

// traceLife traces a birth or an exit.
func (o *observer) traceLife(event, name string, reason Reason) {
	e := TraceEvent{Event: event, Daemon: name, Reason: reason}
	if !o.eventAt.IsZero() {
		e.Timed, e.Latency = true, time.Since(o.eventAt)
	}
	o.tracer.add(e)
}

func (o *observer) logInvalid(name string, p daemondir.Problem) {
	o.line(o.log.Warn(), "sidecar.invalid", name).Str("reason", p.String()).
		Msg("sidecar cannot be used; the dir is kept")
}

func (o *observer) logRefreshed(name string, seen daemondir.Timestamp) {
	o.line(o.log.Debug(), "sidecar.refreshed", name).Uint64("last_seen_unix_ms", seen.MS).Msg("sidecar refreshed")
	o.tracer.add(TraceEvent{Event: "sidecar.refreshed", Daemon: name})
}

func (o *observer) logUnwritable(name string, err error) {
	o.line(o.log.Warn(), "sidecar.unwritable", name).Str("reason", string(reasonOf(err))).Err(err).
		Msg("sidecar cannot be refreshed; trying again at every sweep")
}

// logRemoved logs a removal or, in a dry run, that the dir would be removed.
func (o *observer) logRemoved(out *outcome) {
	name, now := out.entry.Name, unixMS(o.now())
	line := o.line(o.log.Info(), "daemon.removed", name).
		Str("reason", string(out.row.Reason))
	if out.entry.LastSeen.Known {
		line = line.Uint64("age_ms", now-min(out.entry.LastSeen.MS, now)).
			Uint64("last_seen_unix_ms", out.entry.LastSeen.MS)
	}
	if out.entry.PID.Known {
		line = line.Uint32("pid", out.entry.PID.N)
	}
	line = withEnding(line, out.row.Ending)
	if o.dryRun {
		line.Bool("dry_run", true).Msg("daemon dir would be removed")
		return
	}
	line.Int("files", out.removal.Files).Int64("bytes", out.removal.Bytes).Msg("daemon dir removed")
	o.countRemoved(name, out.row.Reason, out.removal)
}

// logFinished logs that an interrupted removal was finished, or would be in a dry run.
func (o *observer) logFinished(name string, r removal) {
	o.line(o.log.Info(), "daemon.removed", name).Str("reason", string(Leftover)).
		Int("files", r.Files).Int64("bytes", r.Bytes).Bool("dry_run", o.dryRun).
		Msg("finished a removal that was interrupted")
	if !o.dryRun {
		o.countRemoved(name, Leftover, r)
	}
}

func (o *observer) countRemoved(name string, reason Reason, r removal) {
	o.count(func(t *Totals) {
		t.Removed++
		t.RemovedBytes += r.Bytes
	})
	o.tracer.add(TraceEvent{Event: "daemon.removed", Daemon: name, Reason: reason, Bytes: r.Bytes})
}

// logKept logs why a dir that is due is kept, once per reason.
func (o *observer) logKept(name string, d *daemon, r removal) {
	if d.last().kept == r.kept || r.kept == Gone {
		return
	}
	d.logged().kept = r.kept
	o.keptLine(name, r, "daemon dir is due for removal, but kept")
}

// logLeftoverKept logs that a leftover was not removed, but stays hidden or was put back.
func (o *observer) logLeftoverKept(name string, r removal) {
	message := "the leftover of an interrupted removal stays hidden"
	if r.putBack {
		message = "the leftover of an interrupted removal was put back"
	}
	o.keptLine(name, r, message)
}

func (o *observer) keptLine(name string, r removal, message string) {
	line := o.line(o.log.Info(), "daemon.kept", name).Str("reason", string(r.kept))
	if r.err != nil {
		line = line.Err(r.err)
	}
	if r.user > 0 {
		line = line.Int32("user_pid", r.user)
	}
	if r.details != "" {
		line = line.Str("details", r.details)
	}
	line.Msg(message)
	o.count(func(t *Totals) {
		if t.Kept == nil {
			t.Kept = make(map[Reason]int)
		}
		t.Kept[r.kept]++
	})
	o.tracer.add(TraceEvent{Event: "daemon.kept", Daemon: name, Reason: r.kept})
}

// logDegraded logs that the exits of n daemons cannot be announced.
func (o *observer) logDegraded(n int) {
	reason, text := proc.WhyUnannounced()
	o.log.Warn().Str("event", "watch.degraded").Str("reason", reason).Str("error", text).Int("unannounced", n).
		Msg("the exits of some daemons cannot be announced; sweeps find them")
}

func (o *observer) logRestored() {
	reason, _ := proc.WhyUnannounced()
	o.log.Info().Str("event", "watch.restored").Str("reason", reason).
		Msg("the exits of all daemons are announced again")
}

// logStuck logs that the worker's task takes long; name is the first dir of it.
func (o *observer) logStuck(name string) {
	o.line(o.log.Warn(), "sweep.stuck", name).Int64("waited_ms", o.stuckAfter.Milliseconds()).
		Msg("the sweep waits for the disk; perhaps its file system does not answer")
}

// logSwept logs the end of a sweep, at debug level if it has removed nothing: to refresh is
// what each sweep does, as long as one daemon lives.
func (o *observer) logSwept(s Stats, took time.Duration, partial bool) {
	line := o.log.Debug()
	if !o.dryRun && s.Removed > 0 {
		line = o.log.Info()
	}
	line.Str("event", "sweep.done").
		Int("checked", s.Checked).Int("alive", s.Alive).Int("dead", s.Dead).
		Int("unknown", s.Unknown).Int("invalid", s.Invalid).
		Int("refreshed", s.Refreshed).Int("removed", s.Removed).Int("kept", s.Kept).Int("failed", s.Failed).
		Int("unreadable_processes", s.Unreadable).
		Float64("duration_ms", float64(took.Microseconds())/1000)
	if partial {
		line.Bool("partial", true).Msg("sweep of the requested dirs done")
		return
	}
	line.Msg("sweep done")
	o.tracer.add(TraceEvent{Event: "sweep.done", Stats: s, Took: took})
}

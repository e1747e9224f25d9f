package prune

import (
	"math"
	"time"

	"runtimegc/registry/daemondir"
)

// A State is what is known of a daemon.
type State string

const (
	Alive   State = "alive"   // its process was verified
	Dead    State = "dead"    // it has no process, or the pid belongs to another one by now
	Unknown State = "unknown" // neither is certain: its dir is kept, and not refreshed
	Invalid State = "invalid" // there is no usable sidecar: its dir is left alone
)

// A Decision is what to do with a daemon dir.
type Decision string

const (
	Keep    Decision = "keep"
	Refresh Decision = "refresh" // set last_seen_unix_ms in its sidecar to now
	Remove  Decision = "remove"
)

// Liveness is what a probe has found out about a daemon's process.
type Liveness struct {
	State     State  // Alive, Dead or Unknown
	Reason    Reason // Running, Exited, Zombie, PIDReused, NoPID, NeverSeen or UnknownLiveness
	StartedAt daemondir.Timestamp
	Err       error // of UnknownLiveness: what could not be determined
}

// A Verdict is the result of judging one daemon dir.
type Verdict struct {
	State    State
	Decision Decision
	Reason   Reason
	StaleAt  daemondir.Timestamp // when it becomes stale: if dead or junk, it is then due for removal
}

// Judge decides what to do with a daemon dir at the time now; nothing else does. It follows
// the rule of the original collector (remove the dir if its daemon is not alive and has not
// been seen for staleAfter), with three differences: if the liveness is unknown, the dir is
// kept; a protected dir is never removed, but refreshed while its daemon is alive; and all
// times are whole milliseconds.
func Judge(e daemondir.Entry, l Liveness, now time.Time, staleAfter time.Duration, protected bool) Verdict {
	if e.Problem != daemondir.ProblemNone {
		return Verdict{State: Invalid, Decision: Keep, Reason: Reason(e.Problem.String())}
	}
	v := Verdict{State: l.State, Decision: Keep, Reason: l.Reason, StaleAt: staleAt(e.LastSeen, staleAfter)}
	switch {
	case l.State == Alive:
		v.Decision = Refresh
	case l.State == Unknown && l.Reason == NeverSeen:
		// kept as such
	case l.State != Dead:
		v.State, v.Reason = Unknown, UnknownLiveness
	case protected:
		v.Reason = Protected
	case !e.LastSeen.Known:
		v.Reason = NoTimestamp
	case unixMS(now) < v.StaleAt.MS:
		v.Reason = NotStale
	default:
		v.Decision = Remove
	}
	return v
}

// judgeAgainAt returns when, in ms since the epoch, the dir must be judged again although
// nothing has reported a change: because Judge may decide differently, or the liveness must
// be probed again. Until then sweeps skip it.
func judgeAgainAt(e daemondir.Entry, l Liveness, staleAfter time.Duration) uint64 {
	switch stale := staleAt(e.LastSeen, staleAfter); {
	case e.Problem != daemondir.ProblemNone && l.State != Alive && l.State != Unknown:
		return math.MaxUint64
	case l.State != Dead:
		return 0
	case !stale.Known:
		return math.MaxUint64
	default:
		return stale.MS
	}
}

// junkAt returns when, in ms since the epoch, a dir has become junk as far as its entry tells:
// nothing says when its daemon was alive, and neither its sidecar nor its pid file was
// written for invalidAfter. It reports false if the dir never becomes junk, because it is
// not known what is wrong with it, or nothing is.
func junkAt(e daemondir.Entry, invalidAfter time.Duration) (ms uint64, ok bool) {
	switch {
	case invalidAfter <= 0, e.LastSeen.Known, e.Problem == daemondir.ProblemPermission,
		e.Problem == daemondir.ProblemNoAnswer, e.Problem == daemondir.ProblemIO:
		return 0, false
	}
	written := max(e.Sidecar.MTime, e.PIDFile.MTime, 0)
	return uint64(time.Duration(written).Milliseconds()) + uint64(invalidAfter.Milliseconds()), true
}

// junkReason returns the reason to keep a dir, while it is no junk, of whose daemon nothing
// says when it was alive.
func junkReason(e daemondir.Entry) Reason {
	if e.Problem != daemondir.ProblemNone {
		return Reason(e.Problem.String())
	}
	return NoTimestamp
}

// staleAt returns lastSeen + staleAfter. The sum saturates, as the original's difference
// does.
func staleAt(lastSeen daemondir.Timestamp, staleAfter time.Duration) daemondir.Timestamp {
	if !lastSeen.Known {
		return daemondir.Timestamp{}
	}
	after := uint64(staleAfter.Milliseconds())
	if lastSeen.MS > math.MaxUint64-after {
		return daemondir.At(math.MaxUint64)
	}
	return daemondir.At(lastSeen.MS + after)
}

// unixMS returns t in milliseconds since the Unix epoch or, as the original, 0 if t is
// before it.
func unixMS(t time.Time) uint64 { return uint64(max(t.UnixMilli(), 0)) }

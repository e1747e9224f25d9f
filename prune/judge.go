package prune

// The one judge. Nothing else decides what becomes of a daemon dir.

import (
	"errors"
	"fmt"
	"math"
	"path"
	"strings"
	"time"

	"runtimegc/registry/daemondir"
)

// A State is what is known of a daemon.
type State string

// The states.
const (
	Alive   State = "alive"   // its process is verified
	Dead    State = "dead"    // it has no process, or the pid is another's by now
	Unknown State = "unknown" // neither is certain; kept, not refreshed
	Invalid State = "invalid" // no usable sidecar, so it is left alone
)

// A Decision is what is to become of a daemon dir.
type Decision string

// The decisions.
const (
	Keep    Decision = "keep"    // leave it as it is
	Refresh Decision = "refresh" // set last_seen_unix_ms in its sidecar to now
	Remove  Decision = "remove"
)

// Liveness is what a probe found out about a daemon's process.
type Liveness struct {
	State     State  // Alive, Dead or Unknown
	Reason    Reason // Running, Exited, Zombie, PIDReused, NoPID or UnknownLiveness
	StartedAt daemondir.Timestamp
	Err       error // Unknown: what could not be found out
}

// A Verdict is what the judge says of one daemon dir.
type Verdict struct {
	State    State
	Decision Decision
	Reason   Reason
	StaleAt  daemondir.Timestamp // from when on it may be removed, were it dead
}

// Judge decides what is to become of a daemon dir at the time now. It implements the
// rule of the original collector (removed when not alive and not seen for staleAfter)
// with three differences: liveness may be unknown, and then the dir is kept; a dir that
// is protected is never removed, but refreshed while its daemon lives; and staleness is
// reckoned in whole milliseconds throughout.
func Judge(e daemondir.Entry, l Liveness, now time.Time, staleAfter time.Duration, protected bool) Verdict {
	if e.Problem != daemondir.ProblemNone {
		return Verdict{State: Invalid, Decision: Keep, Reason: Reason(e.Problem.String())}
	}
	v := Verdict{State: l.State, Decision: Keep, Reason: l.Reason, StaleAt: staleAt(e.LastSeen, staleAfter)}
	switch {
	case l.State == Alive:
		v.Decision = Refresh
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

// nextLook returns from when on, in ms since the epoch, Judge may decide otherwise than
// now though neither entry nor liveness changes, or the liveness must be probed again: a
// sweep passes over the dir until then.
func nextLook(e daemondir.Entry, l Liveness, staleAfter time.Duration) uint64 {
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

// staleAt returns lastSeen + staleAfter; the sum saturates, as the original's
// difference does.
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

// unixMS returns t in milliseconds since the Unix epoch; before it, 0, as in the
// original.
func unixMS(t time.Time) uint64 { return uint64(max(t.UnixMilli(), 0)) }

// patterns are the names of daemons whose dirs are never removed, in the syntax of
// [path.Match].
type patterns []string

// CheckPattern returns an error if pattern is none that [Options] may have in Protect:
// if it is malformed, or empty.
func CheckPattern(pattern string) error {
	if pattern == "" {
		return errors.New("an empty pattern matches no name")
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return fmt.Errorf("pattern %q: %w", pattern, err)
	}
	return nil
}

// match returns the first pattern that protects the daemon dir of that name, or "". One
// that a removal has moved away still is protected by the name it had.
func (p patterns) match(dirName string) string {
	for _, pattern := range p {
		if ok, _ := path.Match(pattern, strings.TrimPrefix(dirName, daemondir.QuarantinePrefix)); ok {
			return pattern
		}
	}
	return ""
}

package prune

import (
	"math"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
)

func TestJudge(t *testing.T) {
	const hour = 3_600_000
	now := time.UnixMilli(10 * hour)
	seen := func(ms uint64) daemondir.Entry { return daemondir.Entry{LastSeen: daemondir.At(ms)} }
	dead := Liveness{State: Dead, Reason: Exited}
	for _, row := range []struct {
		rule   string
		e      daemondir.Entry
		l      Liveness
		now    time.Time
		want   Decision
		reason Reason
	}{
		{"alive is refreshed", seen(0), Liveness{State: Alive, Reason: Running}, now, Refresh, Running},
		{"alive without a timestamp is refreshed", daemondir.Entry{}, Liveness{State: Alive, Reason: Running}, now, Refresh, Running},
		{"dead and stale is removed for why it is dead", seen(hour), dead, now, Remove, Exited},
		{"dead and stale, a zombie", seen(hour), Liveness{State: Dead, Reason: Zombie}, now, Remove, Zombie},
		{"one ms short of stale is kept", seen(9*hour + 1), dead, now, Keep, NotStale},
		{"stale to the ms is removed", seen(9 * hour), dead, now, Remove, Exited},
		{"seen in the future is not stale", seen(11 * hour), dead, now, Keep, NotStale},
		{"seen at the end of time is not stale", seen(math.MaxUint64), dead, now, Keep, NotStale},
		{"seen at the epoch is stale", seen(0), dead, now, Remove, Exited},
		{"a clock before the epoch counts as the epoch", seen(0), dead, time.UnixMilli(-1), Keep, NotStale},
		{"dead without a timestamp is kept", daemondir.Entry{}, dead, now, Keep, NoTimestamp},
		{"unknown is kept however stale", seen(0), Liveness{State: Unknown, Reason: UnknownLiveness}, now, Keep, UnknownLiveness},
		{"never seen is kept however stale, and said as such", seen(0), Liveness{State: Unknown, Reason: NeverSeen}, now, Keep, NeverSeen},
		{"never seen is said only of the unknown", seen(0), Liveness{Reason: NeverSeen}, now, Keep, UnknownLiveness},
		{"no usable sidecar is nobody's to judge, dead and stale or not",
			daemondir.Entry{Problem: daemondir.ProblemNotJSON, LastSeen: daemondir.At(0)}, dead, now, Keep, "sidecar_not_json"},
		{"no sidecar at all", daemondir.Entry{Problem: daemondir.ProblemNoSidecar}, dead, now, Keep, NotADaemonDir},
		{"never probed is not dead", seen(0), Liveness{}, now, Keep, UnknownLiveness},
	} {
		t.Run(row.rule, func(t *testing.T) {
			v := Judge(row.e, row.l, row.now, time.Hour, false)
			if v.Decision != row.want || v.Reason != row.reason {
				t.Errorf("got %s because %q, want %s because %q", v.Decision, v.Reason, row.want, row.reason)
			}
		})
	}
}

// A protected dir stays, whatever else is so; what is true of its daemon is said all
// the same.
func TestJudgeProtected(t *testing.T) {
	now := time.UnixMilli(10_000_000)
	for _, row := range []struct {
		rule   string
		e      daemondir.Entry
		l      Liveness
		want   Decision
		reason Reason
	}{
		{"dead and stale", daemondir.Entry{LastSeen: daemondir.At(0)}, Liveness{State: Dead, Reason: Exited}, Keep, Protected},
		{"dead, not yet stale", daemondir.Entry{LastSeen: daemondir.At(9_999_999)}, Liveness{State: Dead, Reason: Exited}, Keep, Protected},
		{"dead without a timestamp", daemondir.Entry{}, Liveness{State: Dead, Reason: Exited}, Keep, Protected},
		{"alive is refreshed", daemondir.Entry{LastSeen: daemondir.At(0)}, Liveness{State: Alive, Reason: Running}, Refresh, Running},
		{"unknown is kept as such", daemondir.Entry{LastSeen: daemondir.At(0)}, Liveness{State: Unknown, Reason: UnknownLiveness}, Keep, UnknownLiveness},
		{"never seen is kept as such", daemondir.Entry{LastSeen: daemondir.At(0)}, Liveness{State: Unknown, Reason: NeverSeen}, Keep, NeverSeen},
		{"invalid is kept as such", daemondir.Entry{Problem: daemondir.ProblemEmpty}, Liveness{State: Dead, Reason: Exited}, Keep, "sidecar_empty"},
	} {
		if v := Judge(row.e, row.l, now, time.Second, true); v.Decision != row.want || v.Reason != row.reason {
			t.Errorf("%s: got %s because %q, want %s because %q", row.rule, v.Decision, v.Reason, row.want, row.reason)
		}
	}
}

func TestJudgeSaysWhen(t *testing.T) {
	v := Judge(daemondir.Entry{LastSeen: daemondir.At(5)}, Liveness{State: Dead, Reason: Exited}, time.UnixMilli(6), time.Second, false)
	if v.StaleAt != daemondir.At(1005) {
		t.Errorf("stale at %v, want 1005", v.StaleAt)
	}
	v = Judge(daemondir.Entry{LastSeen: daemondir.At(math.MaxUint64 - 1)}, Liveness{State: Dead}, time.UnixMilli(6), time.Second, false)
	if v.StaleAt != daemondir.At(math.MaxUint64) {
		t.Errorf("stale at %v, want the end of time", v.StaleAt)
	}
}

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

// Until then a sweep may skip a dir; a dir that can change without a word is never skipped.
func TestJudgeAgainAt(t *testing.T) {
	seen, never := daemondir.Entry{LastSeen: daemondir.At(5)}, uint64(math.MaxUint64)
	invalid := daemondir.Entry{Problem: daemondir.ProblemNotJSON, LastSeen: daemondir.At(5)}
	for _, row := range []struct {
		rule  string
		e     daemondir.Entry
		state State
		want  uint64
	}{
		{"dead: when it is stale", seen, Dead, 1005},
		{"dead without a timestamp: never", daemondir.Entry{}, Dead, never},
		{"dead, seen at the end of time", daemondir.Entry{LastSeen: daemondir.At(never)}, Dead, never},
		{"alive: at once, to be refreshed", seen, Alive, 0},
		{"unknown: at once, to be probed", seen, Unknown, 0},
		{"not probed yet: at once", seen, "", 0},
		{"invalid: never", invalid, Dead, never},
		{"invalid and not probed: never", invalid, "", never},
		{"invalid, of a daemon that is alive: at once", invalid, Alive, 0},
		{"invalid, of a daemon that may be alive: at once", invalid, Unknown, 0},
	} {
		if got := judgeAgainAt(row.e, Liveness{State: row.state}, time.Second); got != row.want {
			t.Errorf("%s: %d, want %d", row.rule, got, row.want)
		}
	}
}

// What is junk was not written for that long, and nothing is wrong with it that may pass.
func TestJunkAt(t *testing.T) {
	const hour = 3_600_000
	at := func(ms int64) daemondir.Stamp { return daemondir.Stamp{MTime: ms * int64(time.Millisecond)} }
	for _, row := range []struct {
		rule  string
		e     daemondir.Entry
		after time.Duration
		ms    uint64
		ok    bool
	}{
		{"without a timestamp: after its sidecar", daemondir.Entry{Sidecar: at(7), PIDFile: at(6)}, time.Hour, hour + 7, true},
		{"after its pid file", daemondir.Entry{Sidecar: at(7), PIDFile: at(8)}, time.Hour, hour + 8, true},
		{"it has neither", daemondir.Entry{Problem: daemondir.ProblemNoSidecar}, time.Hour, hour, true},
		{"written before the epoch", daemondir.Entry{Sidecar: at(-9), PIDFile: at(-9)}, time.Hour, hour, true},
		{"no JSON", daemondir.Entry{Problem: daemondir.ProblemNotJSON, Sidecar: at(7)}, time.Hour, hour + 7, true},
		{"at once, almost", daemondir.Entry{Sidecar: at(7)}, time.Millisecond, 8, true},
		{"nothing is wrong", daemondir.Entry{LastSeen: daemondir.At(5), Sidecar: at(7)}, time.Hour, 0, false},
		{"it may not be read", daemondir.Entry{Problem: daemondir.ProblemPermission}, time.Hour, 0, false},
		{"the file system does not answer", daemondir.Entry{Problem: daemondir.ProblemNoAnswer}, time.Hour, 0, false},
		{"the disk fails", daemondir.Entry{Problem: daemondir.ProblemIO}, time.Hour, 0, false},
		{"junk stays", daemondir.Entry{Sidecar: at(7)}, 0, 0, false},
	} {
		if ms, ok := junkAt(row.e, row.after); ms != row.ms || ok != row.ok {
			t.Errorf("%s: %d, %v, want %d, %v", row.rule, ms, ok, row.ms, row.ok)
		}
	}
}

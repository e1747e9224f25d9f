package prune

import (
	"errors"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"runtimegc/prune/internal/proc"
	"runtimegc/registry/daemondir"
)

func TestClassify(t *testing.T) {
	const spawned = 1_700_000_000_000
	now := time.UnixMilli(spawned + 1_000_000)
	at := daemondir.At
	for _, row := range []struct {
		rule    string
		f       facts
		spawned daemondir.Timestamp
		state   State
		reason  Reason
	}{
		{"no process", facts{}, at(spawned), Dead, Exited},
		{"zombie, whatever its start", facts{exists: true, zombie: true, start: at(spawned)}, at(spawned), Dead, Zombie},
		{"thread of another process", facts{exists: true, thread: true, start: at(spawned)}, at(spawned), Dead, PIDReused},
		{"start matches", facts{exists: true, start: at(spawned)}, at(spawned), Alive, Running},
		{"start 5 s before", facts{exists: true, start: at(spawned - 5000)}, at(spawned), Alive, Running},
		{"start 5 s after", facts{exists: true, start: at(spawned + 5000)}, at(spawned), Alive, Running},
		{"start matches, exe elsewhere: a daemon without a trampoline", facts{exists: true, start: at(spawned), exe: proc.ExeElsewhere}, at(spawned), Alive, Running},
		{"start too early, exe elsewhere: reused", facts{exists: true, start: at(spawned - 5001), exe: proc.ExeElsewhere}, at(spawned), Dead, PIDReused},
		{"start too late, exe elsewhere: reused", facts{exists: true, start: at(spawned + 5001), exe: proc.ExeElsewhere}, at(spawned), Dead, PIDReused},
		{"start does not match, exe inside: a clock step or a slow spawner", facts{exists: true, start: at(spawned + 9999), exe: proc.ExeInside}, at(spawned), Alive, Running},
		{"start does not match, exe unreadable", facts{exists: true, start: at(spawned + 9999)}, at(spawned), Unknown, UnknownLiveness},
		{"start does not match, exe unreadable, another user's", facts{exists: true, start: at(spawned + 9999), foreign: true}, at(spawned), Dead, PIDReused},
		{"start matches, exe unreadable, another user's: a daemon that changed its user", facts{exists: true, start: at(spawned), foreign: true}, at(spawned), Alive, Running},
		{"start unreadable, another user's: hidepid", facts{exists: true, foreign: true, problem: os.ErrPermission}, at(spawned), Dead, PIDReused},
		{"start implausible, another user's", facts{exists: true, start: at(1000), foreign: true}, at(spawned), Unknown, UnknownLiveness},
		{"start does not match, another user's, but the clock was set", facts{exists: true, stepped: true, start: at(spawned + 9999), foreign: true}, at(spawned), Unknown, UnknownLiveness},
		{"spawned years before the boot, exe unreadable, the same user's: a board without a clock", facts{exists: true, start: at(spawned + 900_000)}, at(spawned - 100_000_000_000), Unknown, UnknownLiveness},
		{"spawned years before the boot, exe inside", facts{exists: true, start: at(spawned + 900_000), exe: proc.ExeInside}, at(spawned - 100_000_000_000), Alive, Running},
		{"start unreadable, exe inside", facts{exists: true, exe: proc.ExeInside}, at(spawned), Alive, Running},
		{"start unreadable, exe elsewhere", facts{exists: true, exe: proc.ExeElsewhere}, at(spawned), Unknown, UnknownLiveness},
		{"all unreadable: hidepid", facts{exists: true, problem: os.ErrPermission}, at(spawned), Unknown, UnknownLiveness},
		{"no spawned_at: any process will do, as in the original", facts{exists: true, start: at(spawned + 9999), exe: proc.ExeElsewhere}, daemondir.Timestamp{}, Alive, Running},
		{"start in 1970: uptime unreadable", facts{exists: true, start: at(1000), exe: proc.ExeElsewhere}, at(spawned), Unknown, UnknownLiveness},
		{"start in 1970 matches a spawned_at in 1970: still no start", facts{exists: true, start: at(1000), exe: proc.ExeElsewhere}, at(1000), Unknown, UnknownLiveness},
		{"start in the future: a container's uptime", facts{exists: true, start: at(spawned + 2_000_000), exe: proc.ExeElsewhere}, at(spawned), Unknown, UnknownLiveness},
		{"start in the future, exe inside", facts{exists: true, start: at(spawned + 2_000_000), exe: proc.ExeInside}, at(spawned), Alive, Running},
		{"start does not match, exe elsewhere, but the clock was set", facts{exists: true, stepped: true, start: at(spawned + 9999), exe: proc.ExeElsewhere}, at(spawned), Unknown, UnknownLiveness},
		{"no pid", facts{noPID: true}, at(spawned), Dead, NoPID},
		{"start as 2000 begins, exe elsewhere", facts{exists: true, start: at(earliestStart), exe: proc.ExeElsewhere}, at(spawned), Dead, PIDReused},
		{"start in 1999, exe elsewhere", facts{exists: true, start: at(earliestStart - 1), exe: proc.ExeElsewhere}, at(spawned), Unknown, UnknownLiveness},
		{"start in 5 s, exe elsewhere: clocks differ", facts{exists: true, start: at(spawned + 1_005_000), exe: proc.ExeElsewhere}, at(spawned), Dead, PIDReused},
		{"start in more than 5 s, exe elsewhere", facts{exists: true, start: at(spawned + 1_005_001), exe: proc.ExeElsewhere}, at(spawned), Unknown, UnknownLiveness},
		{"could not be asked", facts{err: errors.New("no")}, at(spawned), Unknown, UnknownLiveness},
		{"spawned_at at the end of time", facts{exists: true, start: at(spawned), exe: proc.ExeElsewhere}, at(math.MaxUint64), Dead, PIDReused},
	} {
		t.Run(row.rule, func(t *testing.T) {
			l := row.f.evidence(row.spawned, now).classify()
			if l.State != row.state || l.Reason != row.reason {
				t.Errorf("got %s because %s, want %s because %s", l.State, l.Reason, row.state, row.reason)
			}
			if (l.State == Unknown) != (l.Err != nil) {
				t.Errorf("state %s with error %v: unknown, and only that, says why", l.State, l.Err)
			}
		})
	}
}

// Why it is not known is said in words, or by the error of the system; a start is told
// where there is one.
func TestDoubt(t *testing.T) {
	const spawned = 1_700_000_000_000
	at, broken := daemondir.At, errors.New("broken")
	for _, row := range []struct {
		f       facts
		says    string
		started daemondir.Timestamp
	}{
		{facts{err: broken, problem: os.ErrPermission}, "broken", daemondir.Timestamp{}},
		{facts{exists: true, start: at(1000), problem: os.ErrPermission}, "implausible start time 1000 ms after the epoch", daemondir.Timestamp{}},
		{facts{exists: true, problem: os.ErrPermission}, "permission denied", daemondir.Timestamp{}},
		{facts{exists: true, start: at(spawned + 9999), problem: os.ErrPermission}, "permission denied", at(spawned + 9999)},
		{facts{exists: true, start: at(spawned + 9999), stepped: true}, "start time does not match, but the clock was set", at(spawned + 9999)},
		{facts{exists: true, start: at(spawned + 9999)}, "start time does not match, and the executable is not known", at(spawned + 9999)},
	} {
		l := row.f.evidence(at(spawned), time.UnixMilli(spawned+1_000_000)).classify()
		if l.State != Unknown || l.Err == nil || !strings.Contains(l.Err.Error(), row.says) || l.StartedAt != row.started {
			t.Errorf("%+v: %s, %v, started at %v; want %q, %v", row.f, l.State, l.Err, l.StartedAt, row.says, row.started)
		}
	}
	l := facts{exists: true, start: at(spawned)}.evidence(at(spawned), time.UnixMilli(spawned)).classify()
	if l.State != Alive || l.StartedAt != at(spawned) {
		t.Errorf("alive: %+v", l)
	}
}

// facts are evidence in a row's length.
type facts struct {
	noPID, exists, zombie, thread, stepped, foreign bool

	start   daemondir.Timestamp
	exe     proc.Whereabouts
	err     error
	problem error
}

func (f facts) evidence(spawnedAt daemondir.Timestamp, now time.Time) *evidence {
	ev := newEvidence(proc.Facts{
		Exists: f.exists, Zombie: f.zombie, Thread: f.thread, Start: f.start, Exe: f.exe, Err: f.err, Problem: f.problem, Foreign: f.foreign,
	}, spawnedAt, now)
	ev.noPID, ev.stepped = f.noPID, f.stepped
	return &ev
}

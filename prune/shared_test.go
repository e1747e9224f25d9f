package prune

import (
	"errors"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"runtimegc/prune/internal/proc"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// everyEvidence calls f with all combinations of what can be known of a process.
func everyEvidence(f func(evidence)) {
	const spawned = 1_700_000_000_000
	now := time.UnixMilli(spawned + 1_000_000)
	for i := range 1 << 7 {
		bit := func(n int) bool { return i>>n&1 == 1 }
		for _, start := range []daemondir.Timestamp{{}, daemondir.At(spawned), daemondir.At(spawned + 9999), daemondir.At(1000)} {
			for _, exe := range []proc.Whereabouts{proc.ExeUnknown, proc.ExeInside, proc.ExeElsewhere} {
				for _, spawnedAt := range []daemondir.Timestamp{{}, daemondir.At(spawned)} {
					of := facts{noPID: bit(0), exists: bit(1), zombie: bit(2), thread: bit(3), stepped: bit(4), foreign: bit(5), start: start, exe: exe}
					if bit(6) {
						of.err = errors.New("not to be asked")
					}
					f(*of.evidence(spawnedAt, now))
				}
			}
		}
	}
}

// In a shared root, what is dead by its pid is dead only if a collector has seen it alive;
// nothing else changes.
func TestClassifyInSharedRoot(t *testing.T) {
	changed := make(map[Reason]int)
	everyEvidence(func(ev evidence) {
		local := ev.classify()
		for _, row := range []struct{ shared, seenAlive bool }{{false, false}, {false, true}, {true, false}, {true, true}} {
			want := local
			if row.shared && !row.seenAlive && local.State == Dead && local.Reason != NoPID {
				want = Liveness{State: Unknown, Reason: NeverSeen}
				changed[local.Reason]++
			}
			ev.shared, ev.seenAlive = row.shared, row.seenAlive
			got := ev.classify()
			if got.State != want.State || got.Reason != want.Reason || (got.Err == nil) != (want.Err == nil) {
				t.Fatalf("%+v: got %+v, want %+v", ev, got, want)
			}
			settled := 0
			for _, c := range ev.explain(daemondir.PID{N: 7, Known: true}) {
				if c.Outcome != Passed && c.Outcome != Skipped {
					settled++
					if c.Outcome != Outcome(want.State) || c.Reason != want.Reason || c.Details == "" {
						t.Fatalf("%+v: explained as %+v, want %+v", ev, c, want)
					}
				}
			}
			if settled != 1 {
				t.Fatalf("%+v: %d checks determine the state", ev, settled)
			}
		}
	})
	for _, reason := range []Reason{Exited, Zombie, PIDReused} {
		if changed[reason] == 0 {
			t.Errorf("nothing was %s", reason)
		}
	}
	if len(changed) != 3 {
		t.Errorf("it applied to %v", changed)
	}
}

func TestSeenSinceSpawn(t *testing.T) {
	at, none := daemondir.At, daemondir.Timestamp{}
	for _, row := range []struct {
		rule              string
		spawned, lastSeen daemondir.Timestamp // of the sidecar
		want              bool
	}{
		{"no times", none, none, false},
		{"only spawned", at(5), none, false},
		{"seen when it was spawned: the spawner wrote both", at(5), at(5), false},
		{"seen before it was spawned: another daemon of the name was", at(5), at(4), false},
		{"seen later", at(5), at(6), true},
		{"seen, and who knows when it was spawned", none, at(5), true},
	} {
		e := daemondir.Entry{SpawnedAt: row.spawned, LastSeen: daemondir.Sidecar{SpawnedAt: row.spawned, LastSeen: row.lastSeen}.Seen()}
		if got := seenSinceSpawn(e); got != row.want {
			t.Errorf("%s: %v", row.rule, got)
		}
	}
}

// With the /proc of another pid namespace nothing is known of any daemon, with or without
// a pid.
func TestProbeWithForeignProc(t *testing.T) {
	b := newBench(t, Options{})
	dirs := []daemondirtest.Dir{
		daemondirtest.MakeDead(t, b.root, "dead", 2*time.Hour),
		daemondirtest.Make(t, b.root, "no-pid", sidecarText(1, 1), ""),
	}
	live, _ := daemondirtest.MakeLive(t, b.root, "live")
	dirs = append(dirs, live)
	b.scope.Store(&scope{foreign: errors.New("another namespace")})
	for _, d := range dirs {
		e, err := daemondir.Read(d.Root, d.Name)
		if err != nil {
			t.Fatal(err)
		}
		p := b.probe(e, e.PID, d.Path())
		p.close()
		if p.State != Unknown || p.Reason != UnknownLiveness || p.Err == nil {
			t.Errorf("%s: %+v", d.Name, p.Liveness)
		}
	}
}

// The state of a stale daemon that only its spawner has a time of, and of one that was seen.
func TestSharedRoot(t *testing.T) {
	long := time.Now().Add(-2 * time.Hour)
	for _, row := range []struct {
		shared     SharedRoot
		seen       bool
		state      State
		decision   Decision
		reason     Reason
		wantShared bool
	}{
		{SharedYes, false, Unknown, Keep, NeverSeen, true},
		{SharedYes, true, Dead, Remove, Exited, true},
		{SharedNo, false, Dead, Remove, Exited, false},
		{SharedAuto, false, Dead, Remove, Exited, false}, // a directory for temporary files is local
		{"", true, Dead, Remove, Exited, false},
	} {
		b := newBench(t, Options{SharedRoot: row.shared})
		if shared, because := b.SharedRoot(); shared != row.wantShared || because == "" {
			if shared && row.shared != SharedYes {
				t.Skipf("this test's directory is on %s", because)
			}
			t.Errorf("%q: shared %v because %q", row.shared, shared, because)
		}
		lastSeen := time.Time{}
		if row.seen {
			lastSeen = long.Add(time.Second)
		}
		d := daemondirtest.Make(t, b.root, "a", daemondirtest.Sidecar(long, lastSeen), strconv.Itoa(daemondirtest.DeadPID))
		daemondirtest.Make(t, b.root, "no-pid", daemondirtest.Sidecar(long, time.Time{}), "")
		_, rows := b.sweep()
		if r := rows["a"]; r.State != row.state || r.Decision != row.decision || r.Reason != row.reason || d.Exists() == (row.decision == Remove) {
			t.Errorf("%q, seen %v: %s, %s because %s; exists %v", row.shared, row.seen, r.State, r.Decision, r.Reason, d.Exists())
		}
		if rows["no-pid"].Decision != Remove {
			t.Errorf("%q: without a pid: %+v", row.shared, rows["no-pid"])
		}
	}
	if shared, because := SharedYes.decide("/none"); !shared || because == "" {
		t.Errorf("a root that does not exist, but is shared as configured: %v because %q", shared, because)
	}
	if shared, because := SharedAuto.decide(filepath.Join(t.TempDir(), "none")); shared || because == "" {
		t.Errorf("a root that does not exist: %v because %q", shared, because)
	}
	if _, err := New(Options{Registry: newBench(t, Options{}).reg, SharedRoot: "maybe"}); err == nil {
		t.Error("a collector of a root that is maybe shared")
	}
}

// The last look before a removal applies the rule as well.
func TestLastLookInSharedRoot(t *testing.T) {
	b := newBench(t, Options{SharedRoot: SharedYes})
	long := time.Now().Add(-2 * time.Hour)
	d := daemondirtest.Make(t, b.root, "a", daemondirtest.Sidecar(long, time.Time{}), strconv.Itoa(daemondirtest.DeadPID))
	e, err := daemondir.Read(d.Root, d.Name)
	if err != nil {
		t.Fatal(err)
	}
	m, err := b.newRemover(time.Hour, false)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	if r := m.remove(e); r.kept != NeverSeen || !d.Exists() {
		t.Errorf("removed: %+v", r)
	}
	m.witnessed = true
	if r := m.remove(e); r.kept != "" || d.Exists() {
		t.Errorf("kept: %+v", r)
	}
}

// A daemon that this collector has seen alive, and then exit, is dead for certain, even if
// that cannot be written into its sidecar, as in a dry run. The next of its name is not.
func TestWitnessedExitInSharedRoot(t *testing.T) {
	b := newBench(t, Options{SharedRoot: SharedYes, DryRun: true})
	d, cmd := daemondirtest.MakeLive(t, b.root, "a")
	b.sweep()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	_, rows := b.sweep()
	if rows["a"].State != Dead {
		t.Fatalf("after the exit: %+v", rows["a"])
	}
	b.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	if _, rows = b.sweep(); rows["a"].Decision != Remove || rows["a"].Reason != Exited {
		t.Errorf("when it is stale: %+v", rows["a"])
	}
	// Whatever changes without a new spawn, it stays dead.
	if _, err := daemondir.Protect(d.Root, d.Name); err != nil {
		t.Fatal(err)
	}
	if _, rows = b.sweep(); rows["a"].Reason != Protected {
		t.Errorf("protected: %+v", rows["a"])
	}
	if _, err := daemondir.Unprotect(d.Root, d.Name); err != nil {
		t.Fatal(err)
	}
	// Respawned on another host.
	daemondirtest.WriteFile(t, d.Sidecar(), string(daemondirtest.Sidecar(time.Now().Add(-time.Hour), time.Time{})))
	daemondirtest.WriteFile(t, d.PIDFile(), strconv.Itoa(daemondirtest.DeadPID))
	for range 2 {
		if _, rows = b.sweep(); rows["a"].Reason != NeverSeen || rows["a"].Decision != Keep {
			t.Errorf("respawned elsewhere: %+v", rows["a"])
		}
	}
}

// The exit of a daemon is not recorded in the sidecar of its successor on another host: that
// was not alive here.
func TestNoExitOfADaemonElsewhereIsRecorded(t *testing.T) {
	b := newBench(t, Options{SharedRoot: SharedYes})
	d, cmd := daemondirtest.MakeLive(t, b.root, "a")
	b.sweep()
	spawned := time.Now().Add(-10 * time.Second)
	daemondirtest.WriteFile(t, d.Sidecar(), string(daemondirtest.Sidecar(spawned, time.Time{})))
	daemondirtest.WriteFile(t, d.PIDFile(), strconv.Itoa(daemondirtest.DeadPID))
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if _, rows := b.sweep(); rows["a"].Reason != NeverSeen {
		t.Errorf("respawned elsewhere: %+v", rows["a"])
	}
	// A collector there has seen it.
	text := string(daemondirtest.Sidecar(spawned, spawned.Add(5*time.Second)))
	daemondirtest.WriteFile(t, d.Sidecar(), text)
	for range 2 {
		if _, rows := b.sweep(); rows["a"].Reason != NotStale {
			t.Errorf("seen elsewhere: %+v", rows["a"])
		}
		if len(b.exited) > 0 || daemondirtest.ReadFile(t, d.Sidecar()) != text {
			t.Error("its sidecar was written here")
		}
	}
}

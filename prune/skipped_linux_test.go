package prune

import (
	"os"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// wantSkipped makes a pass, which must not judge d.
func (b *bench) wantSkipped(d daemondirtest.Dir) {
	b.t.Helper()
	b.scan()
	stats := b.pass(b.t.Context(), func(r Row) {
		if r.Name == d.Name {
			b.t.Errorf("%s was judged: %+v", d.Name, r)
		}
	})
	if stats.Checked != 1 || stats.Dead != 1 || stats.Kept != 1 || !d.Exists() {
		b.t.Errorf("%+v, there: %v; want one dead that is kept", stats, d.Exists())
	}
}

// A dead daemon's dir is skipped until it is due, and no longer: whatever makes it due, the next
// sweep removes it.
func TestSkippedUntilDue(t *testing.T) {
	later := func(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(d) } }
	for rule, act := range map[string]func(b *bench, d daemondirtest.Dir){
		"its time passes": func(b *bench, d daemondirtest.Dir) {
			b.now = later(29 * time.Minute)
			b.wantSkipped(d)
			b.now = later(31 * time.Minute)
		},
		"the clock jumps by years": func(b *bench, _ daemondirtest.Dir) { b.now = later(30_000 * time.Hour) },
		"the clock jumps back, and is right again": func(b *bench, d daemondirtest.Dir) {
			b.now = later(-30_000 * time.Hour)
			b.wantSkipped(d)
			b.now = later(31 * time.Minute)
		},
		"its sidecar says another time": func(b *bench, d daemondirtest.Dir) {
			ms := time.Now().Add(-2 * time.Hour).UnixMilli()
			daemondirtest.WriteFile(b.t, d.Sidecar(), sidecarText(ms, ms))
		},
		"another dir has its name": func(b *bench, d daemondirtest.Dir) {
			if err := os.RemoveAll(d.Path()); err != nil {
				b.t.Fatal(err)
			}
			daemondirtest.MakeDead(b.t, b.root, d.Name, 2*time.Hour)
		},
	} {
		t.Run(rule, func(t *testing.T) {
			b := newBench(t, Options{})
			d := daemondirtest.MakeDead(t, b.root, "a", 30*time.Minute)
			b.wantSkipped(d)
			b.wantSkipped(d)
			act(b, d)
			b.wantRemoved(d)
		})
	}
}

// New times hold for what was skipped by the old ones, in either direction. Here it runs,
// because it is the run that takes them.
func TestSkippedUntilTheTimesAreSet(t *testing.T) {
	b := running(t, Options{StaleAfter: 24 * time.Hour, SweepInterval: 5 * time.Millisecond})
	d := daemondirtest.MakeDead(t, b.root, "a", 8*time.Hour)
	sweep := func(staleAfter time.Duration) {
		t.Helper()
		if err := b.SetTimes(Settings{staleAfter, 5 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		b.handled(b.scan)
		n := b.Totals().Sweeps
		daemondirtest.Eventually(t, "two sweeps", func() bool { return b.Totals().Sweeps >= n+2 })
	}
	for _, staleAfter := range []time.Duration{24 * time.Hour, 9 * time.Hour, 30 * time.Hour} {
		if sweep(staleAfter); !d.Exists() {
			t.Fatalf("removed with %v", staleAfter)
		}
	}
	if sweep(7 * time.Hour); d.Exists() {
		t.Error("not removed by the new times")
	}
}

// What is alive or unknown is never skipped: nothing may tell of its end, and its sidecar is to
// say when it was seen.
func TestLiveIsNotSkipped(t *testing.T) {
	b := newBench(t, Options{})
	d, cmd := daemondirtest.MakeLive(t, b.root, "a")
	for range 2 {
		before := entryOf(t, d).LastSeen.MS
		daemondirtest.Eventually(t, "a later millisecond", func() bool { return unixMS(time.Now()) > before })
		b.scan()
		if stats := b.pass(t.Context(), nil); stats.Alive != 1 || stats.Refreshed != 1 {
			t.Errorf("%+v, want one refreshed", stats)
		}
		if now := entryOf(t, d).LastSeen.MS; now <= before {
			t.Errorf("last seen at %d, before at %d", now, before)
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if stats := b.pass(t.Context(), nil); stats.Dead != 1 {
		t.Errorf("%+v, want one dead", stats)
	}
}

// Why a dir is kept is logged once of each daemon in it: of the next one that dies there it is
// news again.
func TestKeptIsLoggedOfEachDaemon(t *testing.T) {
	b := newBench(t, Options{})
	d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	if _, err := daemondir.Protect(b.root, "a"); err != nil {
		t.Fatal(err)
	}
	b.wantKept(d, Protected)
	b.wantEvents("daemon.kept", 1)

	_, cmd := daemondirtest.MakeLive(t, b.root, "a")
	b.sweep()
	b.wantEvents("daemon.live", 1)
	b.wantEvents("daemon.kept", 1) // nothing is due
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	b.sweep()
	b.wantEvents("daemon.exited", 1)
	b.wantEvents("daemon.kept", 1) // nor now
	b.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	b.wantKept(d, Protected)
	b.wantEvents("daemon.kept", 2)
}

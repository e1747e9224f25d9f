package prune

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// running is a bench whose collector runs.
func running(t *testing.T, opts Options) *bench {
	t.Helper()
	b := newBench(t, opts)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, watcherByHand{b.reg}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	daemondirtest.Eventually(t, "the lock", func() bool { return b.dryRun || b.lock.taken() })
	return b
}

func (b *bench) wantEvents(event string, n int) []map[string]any {
	b.t.Helper()
	daemondirtest.Eventually(b.t, fmt.Sprintf("%d %s", n, event), func() bool { return len(b.log.Events(event)) >= n })
	lines := b.log.Events(event)
	if len(lines) != n {
		b.t.Fatalf("%d %s, want %d: %v", len(lines), event, n, lines)
	}
	return lines
}

// Birth, exit and the next birth are said when they happen, not at the next sweep.
func TestLifeOfADaemon(t *testing.T) {
	b := running(t, Options{SweepInterval: time.Hour})
	d, cmd := daemondirtest.MakeLive(t, b.root, "a")
	b.scan()
	b.wantEvents("daemon.added", 1)
	first := b.wantEvents("daemon.live", 1)[0]
	if first["pid"] != float64(cmd.Process.Pid) || first["previous_pid"] != nil {
		t.Errorf("logged %v", first)
	}

	killed := time.Now()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	daemondirtest.Eventually(t, "the exit is said, on Linux without a sweep", func() bool {
		if portable {
			b.w.SetSynced()
		}
		return len(b.log.Events("daemon.exited")) > 0
	})
	b.wantEvents("daemon.exited", 1)

	// Not by looking into the sidecar: who has it open is in the way of the lease.
	daemondirtest.Eventually(t, "the exit is recorded", func() bool { return len(b.log.Events("sidecar.refreshed")) > 0 })
	if seen := entryOf(t, d).LastSeen.MS; seen < uint64(killed.UnixMilli()) {
		t.Errorf("last seen at %d, and killed at %d", seen, killed.UnixMilli())
	}
	// On Windows a spawner is refused while the exit is being recorded.
	daemondirtest.Eventually(t, "the sidecar can be written", func() bool {
		f, err := os.OpenFile(d.Sidecar(), os.O_WRONLY, 0)
		if err == nil {
			f.Close()
		}
		return err == nil
	})
	if err := os.Remove(d.Program()); err != nil {
		t.Error(err)
	}
	_, second := daemondirtest.MakeLive(t, b.root, "a")
	b.scan()
	again := b.wantEvents("daemon.live", 2)[1]
	if again["pid"] != float64(second.Process.Pid) || again["previous_pid"] != float64(cmd.Process.Pid) {
		t.Errorf("logged %v", again)
	}
	b.wantEvents("daemon.added", 1)

	if runtime.GOOS == "windows" { // which removes no program that runs
		_ = second.Process.Kill()
		_ = second.Wait()
	}
	// Somebody else's rmtree; without leases a refresh may put a new file into its way.
	daemondirtest.Eventually(t, "the dir is removed", func() bool { return os.RemoveAll(d.Path()) == nil })
	b.scan()
	b.wantEvents("daemon.gone", 1)
}

// A respawn that ends before it is seen: what has exited is that process, and not the
// one before it, which may run on.
func TestExitOfAnUnseenRespawn(t *testing.T) {
	b := running(t, Options{SweepInterval: time.Hour})
	d, cmd := daemondirtest.MakeLive(t, b.root, "a")
	b.scan()
	b.wantEvents("daemon.live", 1)
	daemondirtest.WriteFile(t, d.PIDFile(), strconv.Itoa(daemondirtest.DeadPID))
	b.scan()
	exited := b.wantEvents("daemon.exited", 1)[0]
	if exited["pid"] != float64(daemondirtest.DeadPID) || exited["previous_pid"] != float64(cmd.Process.Pid) {
		t.Errorf("logged %v", exited)
	}
}

// A respawn stands beside the old pid, then beside an empty pid file. Neither is an exit
// of a daemon that still runs.
func TestRespawnIsNoExit(t *testing.T) {
	b := running(t, Options{SweepInterval: time.Hour})
	d, _ := daemondirtest.MakeLive(t, b.root, "a")
	b.scan()
	b.wantEvents("daemon.live", 1)
	pid := daemondirtest.ReadFile(t, d.PIDFile())
	now := time.Now().UnixMilli()
	for _, step := range []struct{ path, text string }{
		{d.Sidecar(), ""}, {d.Sidecar(), `{"spawned`}, {d.Sidecar(), sidecarText(now, now)},
		{d.PIDFile(), ""}, {d.PIDFile(), pid},
	} {
		daemondirtest.WriteFile(t, step.path, step.text)
		b.scan()
	}
	daemondirtest.MakeLive(t, b.root, "b") // handled after all of that
	b.scan()
	b.wantEvents("daemon.live", 2)
	if lines := b.log.Events("daemon.exited"); len(lines) > 0 {
		t.Errorf("logged %v", lines)
	}
	if lines := b.log.Events("sidecar.invalid"); len(lines) > 0 {
		t.Errorf("logged %v", lines)
	}
}

// An invalid sidecar is said once per change of the file.
func TestInvalidSidecarIsSaidOnce(t *testing.T) {
	t.Parallel()
	b := running(t, Options{SweepInterval: 50 * time.Millisecond})
	d := daemondirtest.Make(t, b.root, "a", "not json", "")
	b.scan()
	line := b.wantEvents("sidecar.invalid", 1)[0]
	if line["reason"] != "sidecar_not_json" || line["level"] != "warn" {
		t.Errorf("logged %v", line)
	}
	daemondirtest.WriteFile(t, d.Sidecar(), "still not json")
	b.scan()
	b.wantEvents("sidecar.invalid", 2)
	b.scan()
	swept := len(b.log.Events("sweep.done"))
	daemondirtest.Eventually(t, "some sweeps", func() bool { return len(b.log.Events("sweep.done")) > swept+3 })
	b.wantEvents("sidecar.invalid", 2)
	// A directory without a sidecar is nobody's, and not worth a word.
	if err := os.Mkdir(filepath.Join(b.root, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	daemondirtest.WriteFile(t, d.Sidecar(), "[]")
	b.scan()
	b.wantEvents("sidecar.invalid", 3)
	b.wantEvents("daemon.added", 1)
}

// A problem that comes back after the sidecar could be used is said again, even if there is
// nothing else to know it by: a file system that does not answer once more.
func TestInvalidSidecarIsSaidAgain(t *testing.T) {
	t.Parallel()
	b := running(t, Options{SweepInterval: time.Hour})
	good := entryOf(t, daemondirtest.MakeDead(t, b.root, "a", time.Minute))
	silent := daemondir.Entry{Name: "a", Dir: good.Dir, Problem: daemondir.ProblemNoAnswer}
	for n := 1; n <= 2; n++ {
		b.handled(b.scan)
		b.put(silent)
		if line := b.wantEvents("sidecar.invalid", n)[n-1]; line["reason"] != "no_answer" {
			t.Errorf("logged %v", line)
		}
	}
}

// Sweeps come at the interval, and when the root has been read.
func TestSweepsComeWhenDue(t *testing.T) {
	b := running(t, Options{SweepInterval: time.Hour})
	d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	b.scan()
	b.wantEvents("daemon.added", 1)
	b.w.SetSynced()
	b.wantEvents("daemon.removed", 1)
	if d.Exists() {
		t.Error("not removed")
	}

	c := running(t, Options{SweepInterval: 20 * time.Millisecond})
	daemondirtest.MakeDead(t, c.root, "a", 2*time.Hour)
	c.scan()
	c.wantEvents("daemon.removed", 1)
}

// A dry run opens nothing for writing, counts what it would do, and says it once.
func TestDryRun(t *testing.T) {
	b := newBench(t, Options{DryRun: true})
	d := daemondirtest.MakeDead(t, b.root, "dead", 2*time.Hour)
	live, _ := daemondirtest.MakeLive(t, b.root, "live")
	before := daemondirtest.ReadFile(t, live.Sidecar())
	for range 2 {
		stats, rows := b.sweep()
		if stats.Removed != 1 || stats.Refreshed != 1 || rows["dead"].Decision != Remove || rows["live"].Decision != Refresh {
			t.Errorf("%+v %+v", stats, rows)
		}
	}
	if !d.Exists() || daemondirtest.ReadFile(t, live.Sidecar()) != before {
		t.Error("something was changed")
	}
	if lines := b.log.Events("daemon.removed"); len(lines) != 1 || lines[0]["dry_run"] != true {
		t.Errorf("logged %v", lines)
	}
}

// Every dir is counted once, and into one of four fates.
func TestStatsAddUp(t *testing.T) {
	b := newBench(t, Options{})
	daemondirtest.MakeDead(t, b.root, "stale", 2*time.Hour)
	daemondirtest.MakeDead(t, b.root, "recent", time.Minute)
	daemondirtest.MakeLive(t, b.root, "live")
	daemondirtest.Make(t, b.root, "invalid", "x", "")
	daemondirtest.Make(t, b.root, "timeless", "{}", strconv.Itoa(daemondirtest.DeadPID))
	// A sidecar that was written in this very millisecond would need no refresh.
	later := time.Now().Add(time.Second)
	b.now = func() time.Time { return later }
	stats, rows := b.sweep()
	want := Stats{Checked: 5, Alive: 1, Dead: 3, Invalid: 1, Refreshed: 1, Removed: 1, Kept: 3}
	stats.Unreadable = 0 // other people's business
	if stats != want {
		t.Errorf("got %+v, want %+v", stats, want)
	}
	if total := b.Totals(); total.Sweeps != 1 || total.Refreshed != 1 || total.Removed != 1 || total.Failed != 0 {
		t.Errorf("in total %+v", total)
	}
	if len(rows) != stats.Checked {
		t.Errorf("%d rows for %d dirs", len(rows), stats.Checked)
	}
}

// A sweep ends between two dirs when it is told to.
func TestSweepEndsEarly(t *testing.T) {
	b := newBench(t, Options{})
	for i := range 10 {
		daemondirtest.MakeDead(t, b.root, strconv.Itoa(i), 2*time.Hour)
	}
	b.scan()
	ctx, cancel := context.WithCancel(t.Context())
	stats := b.pass(ctx, func(Row) { cancel() })
	left, _ := os.ReadDir(b.root)
	if stats.Removed != 1 || len(left) != 9 {
		t.Errorf("%+v, %d dirs left", stats, len(left))
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for rule, opts := range map[string]Options{
		"no registry":        {},
		"no root":            {Registry: registry.New("")},
		"negative staleness": {Registry: registry.New("x"), StaleAfter: -1},
		"negative interval":  {Registry: registry.New("x"), SweepInterval: -1},
	} {
		if _, err := New(opts); err == nil {
			t.Errorf("%s: no error", rule)
		}
	}
	c, err := New(Options{Registry: registry.New("x")})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Times(), (Settings{6 * time.Hour, 5 * time.Minute}); got != want {
		t.Errorf("the defaults are %+v, want the original collector's: %+v", got, want)
	}
}

// Times that are changed while it runs are those of the next sweep, and of the ticker.
// One that is not positive changes nothing: by the default of 6 h, a dir that was to be
// kept for 24 h would go.
func TestTimesChange(t *testing.T) {
	b := running(t, Options{StaleAfter: 24 * time.Hour, SweepInterval: time.Hour})
	set := func(staleAfter, interval time.Duration) {
		t.Helper()
		if err := b.SetTimes(Settings{staleAfter, interval}); err != nil {
			t.Error(err)
		}
	}
	d := daemondirtest.MakeDead(t, b.root, "a", 8*time.Hour)
	b.scan()
	b.wantEvents("daemon.added", 1)
	set(24*time.Hour, 5*time.Millisecond)
	for _, bad := range []Settings{{}, {SweepInterval: time.Second}, {StaleAfter: time.Second}, {-1, -1}} {
		if err := b.SetTimes(bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	daemondirtest.Eventually(t, "two sweeps of the new interval", func() bool { return len(b.log.Events("sweep.done")) >= 2 })
	if _, err := os.Stat(d.Path()); err != nil {
		t.Fatalf("removed by another staleness than the one in effect: %v", err)
	}
	if got, want := b.Times(), (Settings{24 * time.Hour, 5 * time.Millisecond}); got != want {
		t.Errorf("in effect are %+v, want %+v", got, want)
	}
	set(7*time.Hour, 5*time.Millisecond)
	b.wantEvents("daemon.removed", 1)
}

// A watchdog's ping is answered while the loop turns, and not before or after.
func TestPing(t *testing.T) {
	b := newBench(t, Options{SweepInterval: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	ping := func(patience time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return b.Ping(ctx)
	}
	if err := ping(20 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("before it runs: %v", err)
	}
	go func() { ran <- b.Run(ctx, watcherByHand{b.reg}) }()
	for range 3 {
		if err := ping(20 * time.Second); err != nil {
			t.Error(err)
		}
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if err := ping(20 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after it ran: %v", err)
	}
}

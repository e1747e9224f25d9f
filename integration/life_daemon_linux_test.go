package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// The main job from end to end: a daemon is born, kept fresh, dies, is removed when it
// is stale, and the log tells all of it, once.
func TestBirthRefreshExitRemoval(t *testing.T) {
	t.Parallel()
	const staleAfter = 1500 * time.Millisecond
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	w := startWatch(t, root, "--stale-after", staleAfter.String(), "--sweep-interval", "100ms")
	w.next("root.found", "")

	d := s.spawn("mydaemon")
	w.next("daemon.added", d.name)
	live := w.next("daemon.live", d.name)
	if live.number("pid") != int64(d.pid) || live.has("previous_pid") {
		t.Errorf("want pid %d and no previous_pid: %s", d.pid, live.line)
	}
	// Older than stale-after, and still there: the refresh keeps it.
	refreshed := w.next("sidecar.refreshed", d.name)
	daemondirtest.Eventually(t, "it has lived for longer than stale-after", func() bool {
		return time.Since(d.closed) > staleAfter+200*time.Millisecond
	})
	if err := d.complete(); err != nil {
		t.Fatalf("the dir of a live daemon: %v", err)
	}

	d.kill()
	exited := w.next("daemon.exited", d.name)
	if exited.reason != "exited" && exited.reason != "zombie" || exited.number("pid") != int64(d.pid) {
		t.Errorf("want pid %d and reason exited or zombie: %s", d.pid, exited.line)
	}
	staleAt := exited.number("stale_at_unix_ms")
	if first := refreshed.time.Add(staleAfter).UnixMilli(); staleAt < first-100 || staleAt > exited.time.Add(staleAfter).UnixMilli() {
		t.Errorf("stale_at_unix_ms %d is not last_seen + %v: %s", staleAt, staleAfter, exited.line)
	}
	removed := w.next("daemon.removed", d.name)
	if removed.reason != "exited" && removed.reason != "zombie" {
		t.Errorf("want reason exited or zombie: %s", removed.line)
	}
	if removed.time.UnixMilli() < staleAt {
		t.Errorf("removed before it was stale, %d: %s", staleAt, removed.line)
	}
	if age := removed.number("age_ms"); age < staleAfter.Milliseconds() || age > removed.time.Sub(d.closed).Milliseconds() {
		t.Errorf("age_ms %d is less than stale-after or more than its life: %s", age, removed.line)
	}
	// The dir, the trampoline, the sidecar, the pid file; the trampoline's bytes stay with
	// the binary it is a link of.
	if removed.number("files") != 4 || removed.number("bytes") < 100 || removed.number("bytes") > 10_000 {
		t.Errorf("want 4 files and the bytes of sidecar and pid file: %s", removed.line)
	}
	if _, err := os.Lstat(d.dir); !os.IsNotExist(err) {
		t.Errorf("the dir of the removed daemon: %v", err)
	}

	last := w.stop(syscall.SIGTERM)
	if last.number("removed") != 1 || last.number("refreshed") < 1 || last.number("failed") != 0 || last.number("daemons") != 0 {
		t.Errorf("totals: %s", last.line)
	}
	w.never("daemon.gone", "") // it was us
	w.never("sidecar.invalid", "")
	for _, kind := range []string{"daemon.added", "daemon.live", "daemon.exited", "daemon.removed"} {
		if n := len(w.all(kind, d.name)); n != 1 {
			t.Errorf("%s was said %d times, want once", kind, n)
		}
	}
	if left, _ := os.ReadDir(root); len(left) > 0 {
		t.Errorf("left in the root: %v", left)
	}
}

// What stands in the root at start is told of like what comes later.
func TestFoundAtStart(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	live := s.spawn("living")
	s.dead("dead", time.Minute)
	s.dead("stale", 7*time.Hour)
	s.leave("broken", []byte(`{"env": "`+secret), "")
	w := startWatch(t, root)
	for _, name := range []string{"living", "dead", "stale", "broken"} {
		w.next("daemon.added", name)
	}
	if e := w.next("daemon.live", "living"); e.number("pid") != int64(live.pid) {
		t.Errorf("want pid %d: %s", live.pid, e.line)
	}
	// Long before the first tick of the sweep interval.
	w.next("daemon.removed", "stale")
	w.next("sidecar.invalid", "broken")
	w.stop(syscall.SIGTERM)
	w.never("daemon.live", "dead")
	w.never("daemon.exited", "")
	w.never("daemon.kept", "")
	w.never("daemon.removed", "dead")
	if err := live.complete(); err != nil {
		t.Error(err)
	}
}

// A respawn reuses the directory: the root sees no event at all, and the new sidecar
// stands beside the old pid for a while. It must end with the new pid.
func TestRespawn(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	w := startWatch(t, root, "--sweep-interval", "100ms")
	old := s.spawn("d")
	w.next("daemon.live", "d")
	for range 10 {
		old.kill()
		d := s.spawn("d")
		e := w.next("daemon.live", "d")
		if e.number("pid") != int64(d.pid) || e.number("previous_pid") != int64(old.pid) {
			t.Errorf("want pid %d, previous_pid %d: %s", d.pid, old.pid, e.line)
		}
		old = d
	}
	w.stop(syscall.SIGTERM)
	if n := len(w.all("daemon.added", "d")); n != 1 {
		t.Errorf("daemon.added was said %d times", n)
	}
	w.never("daemon.gone", "d")
	w.never("daemon.removed", "d")
	if err := old.complete(); err != nil {
		t.Error(err)
	}
}

// The trampoline's parent often does not wait for it. A zombie is dead: it must be
// told at once, never be refreshed again, and its dir must go.
func TestZombie(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	w := startWatch(t, root, "--stale-after", "1500ms", "--sweep-interval", "100ms")
	d := s.spawn("z")
	w.next("daemon.live", "z")
	noError(t, d.abandon())
	if e := w.next("daemon.exited", "z"); e.reason != "zombie" {
		t.Errorf("want reason zombie: %s", e.line)
	}
	if e := w.next("daemon.removed", "z"); e.reason != "zombie" || e.number("pid") != int64(d.pid) {
		t.Errorf("want reason zombie and pid %d: %s", d.pid, e.line)
	}
	w.stop(syscall.SIGTERM)
	if _, err := os.Lstat(d.dir); !os.IsNotExist(err) {
		t.Errorf("the zombie's dir: %v", err)
	}
}

// cleanup_runtime() removes dirs at any time, of the living, too. It is not us who
// removed them, and what is spawned there afterwards is a new daemon.
func TestCleanupBySomebodyElse(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	w := startWatch(t, root, "--sweep-interval", "100ms")
	dead := s.dead("dead", time.Minute)
	live := s.spawn("live")
	s.leave("bare", daemondirtest.Sidecar(time.Now(), time.Time{}), "")
	w.next("daemon.live", "live")
	for _, name := range []string{"dead", "live", "bare"} {
		w.next("daemon.added", name)
		noError(t, s.cleanup(name))
		w.next("daemon.gone", name)
	}
	_ = dead

	again := s.spawn("live")
	w.next("daemon.added", "live")
	if e := w.next("daemon.live", "live"); e.number("pid") != int64(again.pid) || e.has("previous_pid") {
		t.Errorf("want pid %d and no previous_pid: %s", again.pid, e.line)
	}
	// The first one, whose dir is long gone, exits only now: of no interest to the second.
	live.kill()
	w.sweeps(2)
	if err := again.complete(); err != nil {
		t.Error(err)
	}
	again.kill()
	if e := w.next("daemon.exited", "live"); e.number("pid") != int64(again.pid) {
		t.Errorf("want pid %d: %s", again.pid, e.line)
	}
	w.stop(syscall.SIGTERM)
	w.never("daemon.removed", "")
}

// SIGINT and SIGTERM are how a watch ends: with its totals, and exit code 0.
func TestSignalsEndIt(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			root := runtimeRoot(t)
			s := newSpawner(t, root)
			d := s.spawn("d")
			w := startWatch(t, root)
			w.next("daemon.live", "d")
			last := w.stop(sig)
			if last.number("daemons") != 1 || !last.has("uptime_ms") {
				t.Errorf("totals: %s", last.line)
			}
			if err := d.complete(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("while the root is missing", func(t *testing.T) {
		t.Parallel()
		w := startWatch(t, filepath.Join(t.TempDir(), "none"))
		w.next("root.missing", "")
		w.stop(syscall.SIGTERM)
	})
}

// The totals at the end agree with the log, and with the disk, also when a sweep was cut
// short: what was removed is not counted as there, though the watcher, which has
// stopped, has not seen it go.
func TestTotalsOfASweepCutShort(t *testing.T) {
	t.Parallel()
	const due = 300
	root := memoryRoot(t)
	s := newSpawner(t, root)
	text := daemondirtest.Sidecar(ago(stale), ago(stale))
	for i := range due {
		s.leave(fmt.Sprintf("due%d", i), text, noProcess)
	}
	w := startWatch(t, root, "--stale-after", "1h")
	w.next("daemon.removed", "")
	last := w.stop(syscall.SIGTERM)
	left := daemonDirs(t, root)
	if last.number("daemons") != int64(len(left)) || last.number("removed") != int64(due-len(left)) {
		t.Errorf("%d of %d dirs are left: %s", len(left), due, last.line)
	}
	if len(left) == 0 {
		t.Log("the sweep was over before it could be cut short")
	}
}

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

// quietly fails the test if w says anything at info level or above during some sweeps.
func quietly(t *testing.T, w *watchProcess) {
	t.Helper()
	before := len(w.all("", ""))
	w.sweeps(5)
	for _, e := range w.all("", "")[before:] {
		if e.level != "debug" {
			t.Errorf("nothing has changed, but: %s", e.line)
			return
		}
	}
}

// A log that repeats itself at every sweep is one that nobody reads: where nothing
// changes but the times of live daemons, nothing is said.
func TestQuietRootIsAQuietLog(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("exited", time.Minute)
	s.leave("no-pid", daemondirtest.Sidecar(ago(time.Minute), time.Time{}), "")
	s.leave("no-timestamp", daemondirtest.Sidecar(time.Time{}, time.Time{}), "")
	z := s.spawn("zombie")
	noError(t, z.abandon())
	s.leave("invalid", []byte("{"+secret), "")
	noError(t, os.Mkdir(filepath.Join(root, "empty"), 0o755))
	s.spawn("live") // refreshed by each sweep
	w := startWatch(t, root, "--sweep-interval", "50ms")
	w.next("sidecar.invalid", "invalid")
	w.next("daemon.live", "live")
	w.sweeps(2)
	refreshed := len(w.all("sidecar.refreshed", "live"))
	quietly(t, w)
	w.stop(syscall.SIGTERM)
	if len(w.all("sidecar.refreshed", "live")) < refreshed+3 {
		t.Error("the live daemon was not refreshed meanwhile")
	}
	for _, name := range []string{"exited", "no-pid", "no-timestamp", "zombie", "invalid", "live"} {
		if n := len(w.all("daemon.added", name)); n != 1 {
			t.Errorf("daemon.added was said %d times of %s", n, name)
		}
	}
}

// What is due but must stay is a state like any other: said once, not at every sweep.
func TestKeptIsSaidOnce(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("locked", 7*time.Hour)
	s.dead("in-use", 7*time.Hour)
	flockShared(t, s.dir("locked"))
	bystander(t, s.dir("in-use"))
	w := startWatch(t, root, "--sweep-interval", "100ms")
	if e := w.next("daemon.kept", "locked"); e.reason != "locked" {
		t.Errorf("want reason locked: %s", e.line)
	}
	if e := w.next("daemon.kept", "in-use"); e.reason != "in_use" {
		t.Errorf("want reason in_use: %s", e.line)
	}
	quietly(t, w)
	w.stop(syscall.SIGTERM)
	w.never("daemon.removed", "")
}

// A directory that only looks like the leftover of an interrupted removal is nobody's
// to remove, and no reason to talk at every sweep.
func TestForeignDirWithTheQuarantinePrefix(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	foreign := filepath.Join(root, ".pruned-notes")
	noError(t, os.Mkdir(foreign, 0o755))
	noError(t, os.WriteFile(filepath.Join(foreign, "notes.txt"), []byte("mine"), 0o644))
	w := startWatch(t, root, "--sweep-interval", "50ms")
	w.sweeps(2)
	quietly(t, w)
	w.stop(syscall.SIGTERM)
	if _, err := os.Stat(filepath.Join(foreign, "notes.txt")); err != nil {
		t.Error(err)
	}
}

// A removal that the system refuses is tried again at every sweep, but told of once.
// Only an ordinary user can be refused.
func TestRefusedRemovalIsSaidOnce(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("d", 7*time.Hour)
	sealed := filepath.Join(s.dir("d"), "sealed")
	noError(t, os.Mkdir(sealed, 0o755))
	noError(t, os.WriteFile(filepath.Join(sealed, "log"), nil, 0o644))
	attr := ordinaryUser(t, root)
	noError(t, os.Chmod(sealed, 0))
	t.Cleanup(func() { chmodBelow(root, 0o755) })
	w := startWatchAs(t, attr, root, "--sweep-interval", "100ms")
	if e := w.next("daemon.kept", "d"); e.reason != "permission" || !e.has("error") {
		t.Errorf("want reason permission and the error: %s", e.line)
	}
	quietly(t, w)
	w.stop(syscall.SIGTERM)
	w.never("daemon.removed", "")
}

// A sidecar that may not be written is told of once; its daemon lives and is kept.
func TestUnwritableSidecarIsSaidOnce(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	d := s.spawn("d")
	attr := ordinaryUser(t, root)
	noError(t, os.Chmod(s.sidecar("d"), 0o444))
	w := startWatchAs(t, attr, root, "--stale-after", "200ms", "--sweep-interval", "100ms")
	w.next("daemon.live", "d")
	if e := w.next("sidecar.unwritable", "d"); e.reason != "permission" {
		t.Errorf("want reason permission: %s", e.line)
	}
	quietly(t, w)
	w.stop(syscall.SIGTERM)
	w.never("daemon.removed", "")
	if err := d.complete(); err != nil {
		t.Error(err)
	}
}

// An invalid sidecar is told of once per change of the file, however many sweeps there
// are, and when it is mended the daemon is one like any other.
func TestInvalidSidecarIsSaidOncePerChange(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	w := startWatch(t, root, "--sweep-interval", "50ms")
	for _, step := range []struct{ text, reason string }{
		{`{"env": {"K": "` + secret, "sidecar_not_json"},
		{`["` + secret + `"]`, "sidecar_not_object"},
		{"", "sidecar_empty"},
	} {
		s.leave("d", []byte(step.text), "")
		if e := w.next("sidecar.invalid", "d"); e.reason != step.reason {
			t.Errorf("want reason %s: %s", step.reason, e.line)
		}
		// The dir changes, the sidecar does not.
		noError(t, os.WriteFile(filepath.Join(s.dir("d"), "daemon.pid"), []byte(step.reason), 0o644))
		// Longer than it takes for a sidecar that is being written to count as invalid.
		settled := time.Now().Add(1500 * time.Millisecond)
		daemondirtest.Eventually(t, "time has passed", func() bool { return time.Now().After(settled) })
		quietly(t, w)
	}
	d := s.spawn("d")
	w.next("daemon.live", "d")
	w.stop(syscall.SIGTERM)
	if n := len(w.all("sidecar.invalid", "d")); n != 3 {
		t.Errorf("sidecar.invalid was said %d times, want 3", n)
	}
	if n := len(w.all("daemon.added", "d")); n != 1 {
		t.Errorf("daemon.added was said %d times, want once", n)
	}
	if err := d.complete(); err != nil {
		t.Error(err)
	}
}

// A daemon that was told alive and whose sidecar then breaks still has an end, and the
// log must tell it: nothing else will.
func TestExitIsToldWhateverBecameOfTheSidecar(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(path string) error{
		"invalid": func(path string) error { return os.WriteFile(path, []byte("{"), 0o644) },
		"gone":    os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := runtimeRoot(t)
			s := newSpawner(t, root)
			w := startWatch(t, root, "--sweep-interval", "50ms")
			d := s.spawn("d")
			w.next("daemon.live", "d")
			noError(t, spoil(s.sidecar("d")))
			w.sweeps(1)
			d.kill()
			if e := w.next("daemon.exited", "d"); e.number("pid") != int64(d.pid) {
				t.Errorf("want pid %d: %s", d.pid, e.line)
			}
			w.stop(syscall.SIGTERM)
		})
	}
}

// A dry run changes nothing on disk, needs no lock, and says once what would be done.
func TestDryRunWatch(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.spawn("live")
	s.dead("stale", 7*time.Hour)
	s.dead("dead", time.Minute)
	before := snapshot(t, root)
	w := startWatch(t, root, "--sweep-interval", "50ms", "--dry-run")
	w.next("daemon.live", "live")
	w.sweeps(2)
	quietly(t, w)
	run(t, "list", "--root", root).must(t)
	w.stop(syscall.SIGTERM)
	before.mustEqual(t, snapshot(t, root))
	w.never("sidecar.refreshed", "")
	for _, e := range w.all("daemon.removed", "") {
		if dry, _ := e.fields["dry_run"].(bool); !dry || e.daemon != "stale" {
			t.Errorf("a dry run removed something: %s", e.line)
		}
	}
}

// A spawner truncates its sidecar and writes it: for up to 60 ms it is invalid. That is
// no news, not even while there is another one that stays invalid and is told of.
func TestInvalidForAMomentIsNotSaid(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	w := startWatch(t, root, "--sweep-interval", "1h")
	w.next("root.found", "")
	const moment = 100 * time.Millisecond
	tookLong := make(map[string]bool)
	s.leave("broken", []byte("{"), "")
	for i := 0; len(w.all("sidecar.invalid", "broken")) == 0 && i < 100; i++ {
		name := fmt.Sprintf("slow-%d", i)
		began := time.Now()
		s.leave(name, nil, "")
		w.next("daemon.added", name)
		for time.Since(began) < moment && len(w.all("sidecar.invalid", name)) == 0 {
			time.Sleep(5 * time.Millisecond)
		}
		s.leave(name, daemondirtest.Sidecar(time.Now(), time.Time{}), "")
		tookLong[name] = time.Since(began) > 5*moment
	}
	w.next("sidecar.invalid", "broken")
	w.stop(syscall.SIGTERM)
	for _, e := range w.all("sidecar.invalid", "") {
		if e.daemon != "broken" && !tookLong[e.daemon] {
			t.Errorf("it was invalid for %v: %s", moment, e.line)
		}
	}
}

package prune

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"runtimegc/prune/internal/fsys"
	"runtimegc/prune/internal/proc"
	"runtimegc/registry"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// wantKept sweeps and expects d to stay for that reason.
func (b *bench) wantKept(d daemondirtest.Dir, reason Reason) {
	b.t.Helper()
	_, rows := b.sweep()
	if !d.Exists() {
		b.t.Fatalf("the dir was removed, want it kept because %s", reason)
	}
	if row := rows[d.Name]; row.Decision != Keep || row.Reason != reason {
		b.t.Errorf("decided to %s because %s, want keep because %s", row.Decision, row.Reason, reason)
	}
	lines := b.log.Events("daemon.kept")
	if len(lines) == 0 || lines[len(lines)-1]["reason"] != string(reason) {
		b.t.Errorf("daemon.kept was logged as %v", lines)
	}
	b.sweep()
	if again := b.log.Events("daemon.kept"); len(again) != len(lines) {
		b.t.Errorf("the second sweep says it again: %v", again)
	}
}

func (b *bench) wantRemoved(d daemondirtest.Dir) {
	b.t.Helper()
	stats, _ := b.sweep()
	if d.Exists() || stats.Removed != 1 {
		b.t.Errorf("not removed: %+v", stats)
	}
	if left, _ := filepath.Glob(filepath.Join(b.root, daemondir.QuarantinePrefix+"*")); len(left) > 0 {
		b.t.Errorf("left behind: %q", left)
	}
}

func TestRemoveStaleDir(t *testing.T) {
	b := newBench(t, Options{})
	d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	daemondirtest.WriteFile(t, filepath.Join(d.Path(), "log"), strings.Repeat("x", 1000))
	if err := os.MkdirAll(filepath.Join(d.Path(), "deep", "er"), 0o755); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "precious")
	daemondirtest.WriteFile(t, outside, "stay")
	if err := os.Symlink(filepath.Dir(outside), filepath.Join(d.Path(), "deep", "link")); err != nil {
		t.Fatal(err)
	}
	daemondirtest.MakeOld(t, d.Path(), 2*time.Hour)
	recent := daemondirtest.MakeDead(t, b.root, "recent", time.Minute)
	size := int64(1000 + len(daemondirtest.ReadFile(t, d.Sidecar())) + len(daemondirtest.ReadFile(t, d.PIDFile())))
	b.wantRemoved(d)
	if !recent.Exists() {
		t.Error("the dir of one that died a minute ago is gone")
	}
	if got, err := os.ReadFile(outside); err != nil || string(got) != "stay" {
		t.Errorf("what a symlink led to was touched: %v", err)
	}
	lines := b.log.Events("daemon.removed")
	if len(lines) != 1 {
		t.Fatalf("logged %v", lines)
	}
	line := lines[0]
	// dir, sidecar, pid, log, deep, er, link
	if line["files"] != 7.0 || line["bytes"] != float64(size) || line["reason"] != "exited" {
		t.Errorf("logged %v, want 7 files, %d bytes", line, size)
	}
	if age := line["age_ms"].(float64); age < 7.1e6 || age > 7.4e6 {
		t.Errorf("age is %v ms, want 2h", age)
	}
	// The registry hears of it as of any other change, and that is not somebody else's.
	b.scan()
	b.observeChanges()
	if gone := b.log.Events("daemon.gone"); len(gone) > 0 {
		t.Errorf("our own removal is logged as %v", gone)
	}
}

// While the worker removes a large dir, the registry may hear that it has gone before the
// observer hears of the removal: it was not somebody else's.
func TestRemovalInProgressIsNotGone(t *testing.T) {
	b := running(t, Options{SweepInterval: time.Hour})
	heard := make(chan struct{})
	goOn := sync.OnceFunc(func() { close(heard) })
	t.Cleanup(goOn)
	b.reached = func(step string) {
		if step == "renamed" {
			<-heard
		}
	}
	d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	b.put(entryOf(t, d))
	b.wantEvents("daemon.added", 1)
	b.SweepNow()
	// What the watcher does in the meantime.
	daemondirtest.Eventually(t, "the dir is out of sight", func() bool { return !d.Exists() })
	b.w.Delete("a")
	handled := func(name string) {
		live, _ := daemondirtest.MakeLive(t, b.root, name)
		b.put(entryOf(t, live))
		daemondirtest.Eventually(t, name+" is handled", func() bool {
			live := b.log.Events("daemon.live")
			return len(live) > 0 && live[len(live)-1]["daemon"] == name
		})
	}
	handled("during the removal")
	if removed := b.log.Events("daemon.removed"); len(removed) > 0 {
		t.Errorf("the removal did not wait: %v", removed)
	}
	goOn()
	b.wantEvents("daemon.removed", 1)
	handled("after it")
	if gone := b.log.Events("daemon.gone"); len(gone) > 0 {
		t.Errorf("our own removal is logged as %v", gone)
	}
}

// A registry that has not heard of our removal yet is not a new daemon.
func TestRemovalIsNotABirth(t *testing.T) {
	b := newBench(t, Options{})
	d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	b.wantRemoved(d)
	b.observe("a", entryChanged)
	if added := b.log.Events("daemon.added"); len(added) != 1 {
		t.Errorf("added %d times", len(added))
	}
	b.scan()
	b.observeChanges()
	// The name's next daemon is one.
	daemondirtest.MakeDead(t, b.root, "a", time.Minute)
	b.scan()
	b.observeChanges()
	if added := b.log.Events("daemon.added"); len(added) != 2 {
		t.Errorf("added %d times", len(added))
	}
}

func newTestRemover(t *testing.T, root string, dryRun bool) *remover {
	t.Helper()
	m, err := testCollector(t, root).newRemover(time.Hour, dryRun)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.close)
	return m
}

// findNoUsers has m believe that it has looked, and nobody uses what is there now.
func findNoUsers(t *testing.T, m *remover) {
	t.Helper()
	time.Sleep(3 * fsys.Tick) // so that the time stamps are older than that look
	position, err := m.root.Position()
	if err != nil {
		t.Fatal(err)
	}
	m.users, m.usersAt, m.position = proc.Users{}, time.Now().Add(time.Hour), position
}

// What cannot be removed is said once, counted, and tried again.
func TestRemovalFails(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("nothing is forbidden to root")
	}
	b := newBench(t, Options{})
	d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	if err := os.Chmod(b.root, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(b.root, 0o755) })
	stats, _ := b.sweep()
	if stats.Failed != 1 || !d.Exists() {
		t.Errorf("%+v", stats)
	}
	b.sweep()
	if lines := b.log.Events("daemon.kept"); len(lines) != 1 || lines[0]["reason"] != "permission" || lines[0]["error"] == nil {
		t.Errorf("logged %v", lines)
	}
	_ = os.Chmod(b.root, 0o755)
	b.wantRemoved(d)
}

func TestRemoveLongestName(t *testing.T) {
	b := newBench(t, Options{})
	b.wantRemoved(daemondirtest.MakeDead(t, b.root, strings.Repeat("n", 243), 2*time.Hour))
}

// testCollector is a collector of a root that nobody has read.
func testCollector(t *testing.T, root string) *Collector {
	t.Helper()
	c, err := New(Options{Registry: registry.New(root), StaleAfter: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

package prune

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// A spawner that found the sidecar before the dir was renamed, but comes to the lease while
// the dir is emptied, finds its dir again as well.
func TestPutBackForASpawnerWhoIsLate(t *testing.T) {
	root := t.TempDir()
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	needLeases(t, d)
	m := newTestRemover(t, root, false)
	written := make(chan error, 1)
	m.reached = func(step string) {
		if step != "looked" {
			return
		}
		f, err := os.OpenFile(filepath.Join(root, ".pruned-a", "a.daemon.json"), os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if !errors.Is(err, syscall.EWOULDBLOCK) { // but it makes the lease end
			f.Close()
			t.Errorf("there is no lease: %v", err)
		}
		go func() {
			written <- os.WriteFile(filepath.Join(root, ".pruned-a", "a.daemon.json"), []byte("new"), 0o644)
		}()
		time.Sleep(20 * time.Millisecond)
	}
	if r := m.remove(entryOf(t, d)); r.kept != Respawned || r.err != nil || r.hidden != "" {
		t.Errorf("%+v", r)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(d.Sidecar()); err != nil || string(text) != "new" {
		t.Errorf("%q, %v", text, err)
	}
}

// Nor is one lost that replaces the sidecar, or is refreshed by a collector without leases.
func TestPutBackForASidecarThatIsReplacedLate(t *testing.T) {
	root := t.TempDir()
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	m := newTestRemover(t, root, false)
	m.reached = func(step string) {
		if step != "looked" {
			return
		}
		file := filepath.Join(t.TempDir(), "new")
		daemondirtest.WriteFile(t, file, "new")
		if err := os.Rename(file, filepath.Join(root, ".pruned-a", "a.daemon.json")); err != nil {
			t.Error(err)
		}
	}
	if r := m.remove(entryOf(t, d)); r.kept != Respawned || r.err != nil || r.hidden != "" || daemondirtest.ReadFile(t, d.Sidecar()) != "new" {
		t.Errorf("%+v", r)
	}
}

// A spawner that has resolved the sidecar's path when the dir is renamed waits for the
// lease; it finds its dir again.
func TestPutBackForAWaitingSpawner(t *testing.T) {
	root := t.TempDir()
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	needLeases(t, d)
	e := entryOf(t, d)
	m := newTestRemover(t, root, false)
	dir, err := daemondir.Open(root, "a")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	f := openSidecar(t, d, daemondir.ReadOnly)
	if err := fsys.TakeLease(f); err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	go func() { opened <- os.WriteFile(d.Sidecar(), []byte("new"), 0o644) }()
	daemondirtest.Eventually(t, "the spawner waits", func() bool { return !fsys.LeaseHeld(f) })
	if err := m.root.Rename("a", ".pruned-a"); err != nil {
		t.Fatal(err)
	}
	if reason := m.recheckRenamed(&attempt{e: e, d: dir, sidecar: f, leased: true}, ".pruned-a"); reason != Respawned {
		t.Errorf("nobody is seen waiting: %q", reason)
	}
	if r := m.restore(".pruned-a", keep(Respawned)); r.kept != Respawned || r.err != nil || r.hidden != "" {
		t.Fatalf("%+v", r)
	}
	f.Close()
	if err := <-opened; err != nil {
		t.Error(err)
	}
	if got := daemondirtest.ReadFile(t, d.Sidecar()); got != "new" {
		t.Errorf("the spawner's update is %q", got)
	}
}

package prune

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// What an interrupted removal left is finished, or put back.
func TestLeftovers(t *testing.T) {
	quarantine := func(t *testing.T, d daemondirtest.Dir) string {
		hidden := filepath.Join(d.Root, daemondir.QuarantinePrefix+d.Name)
		if err := os.Rename(d.Path(), hidden); err != nil {
			t.Fatal(err)
		}
		return hidden
	}
	t.Run("dead and stale is removed", func(t *testing.T) {
		b := newBench(t, Options{})
		quarantine(t, daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour))
		stats, _ := b.sweep()
		if left, _ := os.ReadDir(b.root); len(left) != 0 || stats.Removed != 1 {
			t.Errorf("left %v, %+v", left, stats)
		}
		if lines := b.log.Events("daemon.removed"); len(lines) != 1 || lines[0]["daemon"] != "a" {
			t.Errorf("logged %v", lines)
		}
		b.sweep()
		if lines := b.log.Events("daemon.removed"); len(lines) != 1 {
			t.Errorf("logged again: %v", lines)
		}
	})
	t.Run("only the empty dir was left", func(t *testing.T) {
		b := newBench(t, Options{})
		if err := os.Mkdir(filepath.Join(b.root, ".pruned-a"), 0o755); err != nil {
			t.Fatal(err)
		}
		b.sweep()
		if left, _ := os.ReadDir(b.root); len(left) != 0 {
			t.Errorf("left %v", left)
		}
	})
	t.Run("not ours: no sidecar, but not empty", func(t *testing.T) {
		b := newBench(t, Options{})
		mine := filepath.Join(b.root, ".pruned-a", "mine")
		daemondirtest.Make(t, b.root, ".pruned-a", "x", "") // a daemon of that very name
		if err := os.WriteFile(mine, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		b.sweep()
		if _, err := os.Stat(mine); err != nil {
			t.Error(err)
		}
	})
	t.Run("dead, but not yet stale, is put back", func(t *testing.T) {
		b := newBench(t, Options{})
		d := daemondirtest.MakeDead(t, b.root, "a", time.Minute)
		quarantine(t, d)
		stats, _ := b.sweep()
		if _, err := os.Stat(d.Sidecar()); err != nil || stats.Removed != 0 || stats.Kept != 1 {
			t.Errorf("%v, %+v", err, stats)
		}
		b.wantKept(d, NotStale)
	})
	t.Run("alive is put back", func(t *testing.T) {
		b := newBench(t, Options{})
		d, _ := daemondirtest.MakeLive(t, b.root, "a")
		quarantine(t, d)
		b.sweep()
		if !d.Exists() {
			t.Error("not put back")
		}
	})
	t.Run("in use is put back", func(t *testing.T) {
		b := newBench(t, Options{})
		d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
		quarantine(t, d)
		cmd := exec.Command("sleep", "1000")
		cmd.Dir = filepath.Join(b.root, ".pruned-a")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
		b.sweep()
		if !d.Exists() {
			t.Error("not put back")
		}
	})
	t.Run("alive, and the name is taken", func(t *testing.T) {
		b := newBench(t, Options{})
		d, _ := daemondirtest.MakeLive(t, b.root, "a")
		hidden := quarantine(t, d)
		daemondirtest.MakeDead(t, b.root, "a", time.Minute)
		b.sweep()
		if _, err := os.Stat(hidden); err != nil || !d.Exists() {
			t.Error("one of the two is gone")
		}
	})
	t.Run("a dry run leaves it", func(t *testing.T) {
		b := newBench(t, Options{DryRun: true})
		hidden := quarantine(t, daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour))
		stats, _ := b.sweep()
		if _, err := os.Stat(hidden); err != nil || stats.Removed != 1 {
			t.Errorf("%v, %+v", err, stats)
		}
	})
}

// A leftover that may not be removed now gets its name back, whatever is left of it, and
// is removed when it may be.
func TestLeftoversAreSurveyed(t *testing.T) {
	for reason, change := range map[Reason]func(t *testing.T, d daemondirtest.Dir, hidden string) (undo func()){
		RecentlyWritten: func(t *testing.T, d daemondirtest.Dir, hidden string) func() {
			daemondirtest.WriteFile(t, filepath.Join(hidden, "log"), "text")
			return func() { daemondirtest.MakeOld(t, d.Path(), 2*time.Hour) }
		},
		Permission: func(t *testing.T, d daemondirtest.Dir, hidden string) func() {
			shut := filepath.Join(hidden, "shut")
			if err := errors.Join(os.Mkdir(shut, 0o755), os.Chmod(shut, 0)); err != nil {
				t.Fatal(err)
			}
			undo := func() { _ = os.Chmod(filepath.Join(d.Path(), "shut"), 0o755) }
			t.Cleanup(undo)
			return undo
		},
	} {
		t.Run(string(reason), func(t *testing.T) {
			if reason == Permission && os.Geteuid() == 0 {
				t.Skip("nothing is forbidden to root")
			}
			b := newBench(t, Options{})
			d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
			hidden := filepath.Join(b.root, daemondir.QuarantinePrefix+"a")
			if err := os.Rename(d.Path(), hidden); err != nil {
				t.Fatal(err)
			}
			_ = os.Remove(filepath.Join(hidden, "daemon.pid")) // so far it had come
			undo := change(t, d, hidden)
			if b.sweep(); !d.Exists() {
				t.Error("it was not given its name back")
			}
			b.wantKept(d, reason)
			undo()
			b.wantRemoved(d)
		})
	}
}

// What NFS keeps of a file that we have removed, and somebody still writes or has open, does not
// bring the leftover back.
func TestLeftoverWithAnOpenRemovedFile(t *testing.T) {
	for _, rule := range []string{"written", "open"} {
		t.Run(rule, func(t *testing.T) {
			b := newBench(t, Options{})
			hidden := daemondirtest.MakeDead(t, b.root, daemondir.QuarantinePrefix+"a", 2*time.Hour)
			mustDo(t, os.Rename(hidden.Sidecar(), filepath.Join(hidden.Path(), "a.daemon.json")))
			kept := filepath.Join(hidden.Path(), ".nfs0001")
			daemondirtest.WriteFile(t, kept, "text")
			end := func() {}
			if rule == "open" {
				daemondirtest.MakeOld(t, hidden.Path(), 2*time.Hour)
				end = openIn(t, kept)
			}
			for range 2 {
				if b.sweep(); !hidden.Exists() {
					t.Fatal("it was given its name back, or removed")
				}
			}
			end()
			daemondirtest.MakeOld(t, hidden.Path(), 2*time.Hour)
			if b.sweep(); hidden.Exists() {
				t.Error("it is still there")
			}
		})
	}
}

// openIn has a process that has the file open, until it is ended.
func openIn(t *testing.T, file string) (end func()) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command("sleep", "1000")
	cmd.Stdin = f
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	t.Cleanup(end)
	return end
}

// A leftover whose removal is called off at its last look gets its name back, which is counted and
// logged as of any that is kept.
func TestLeftoverIsPutBackDuringRemoval(t *testing.T) {
	b := newBench(t, Options{})
	hidden := daemondirtest.MakeDead(t, b.root, daemondir.QuarantinePrefix+"a", 2*time.Hour)
	mustDo(t, os.Rename(hidden.Sidecar(), filepath.Join(hidden.Path(), "a.daemon.json")))
	daemondirtest.MakeOld(t, hidden.Path(), 2*time.Hour)
	b.reached = func(step string) {
		if step != "judged" {
			return
		}
		if _, err := daemondir.Protect(b.root, hidden.Name); err != nil {
			t.Error(err)
		}
	}
	stats, _ := b.sweep()
	if d := (daemondirtest.Dir{Root: b.root, Name: "a"}); !d.Exists() || stats.Kept != 1 {
		t.Errorf("it is there: %v, %+v", d.Exists(), stats)
	}
	if lines := b.log.Events("daemon.kept"); len(lines) != 1 || lines[0]["reason"] != string(Protected) || lines[0]["daemon"] != "a" {
		t.Errorf("logged %v", lines)
	}
}

// Whoever removes the sidecar of a quarantined dir while it is emptied has not respawned it.
func TestSidecarIsGoneDuringRemoval(t *testing.T) {
	root := t.TempDir()
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	m := newTestRemover(t, root, false)
	m.reached = func(step string) {
		if step != "looked" {
			return
		}
		if err := os.Remove(filepath.Join(root, daemondir.QuarantinePrefix+"a", "a.daemon.json")); err != nil {
			t.Error(err)
		}
	}
	r := m.remove(entryOf(t, d))
	if left, _ := os.ReadDir(root); r.kept != "" || len(left) > 0 {
		t.Errorf("%+v, left: %v", r, left)
	}
}

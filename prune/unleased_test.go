package prune

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// Removal where there are no leases: on Windows, on macOS, and with the tag portable.

// unleased returns the dir of a dead daemon, its entry, and a remover that calls at when it
// has reached that step.
func unleased(t *testing.T, step string, at func(root string)) (daemondirtest.Dir, daemondir.Entry, *remover) {
	t.Helper()
	if fsys.HasLeases {
		t.Skip("a lease keeps spawners out on this system")
	}
	root := t.TempDir()
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	e := entryOf(t, d)
	b := newBenchIn(t, root, Options{})
	m, err := b.newRemover(time.Hour, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.close)
	m.reached = func(s string) {
		if s == step {
			at(root)
		}
	}
	return d, e, m
}

// rewrite writes another text of the same length, and sets the old time of modification.
func rewrite(t *testing.T, path string) (text string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	text = strings.Replace(daemondirtest.ReadFile(t, path), "s3cret", "public", 1)
	daemondirtest.WriteFile(t, path, text)
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if now, err := os.Stat(path); err != nil || now.ModTime() != info.ModTime() || now.Size() != info.Size() {
		t.Fatalf("it can be told by its stamp: %v, %v", now, err)
	}
	return text
}

// Whatever a spawner writes, from the last look until the sidecar is removed, is seen, and the
// dir is given back, with what was written.
func TestUnleasedSpawnerGetsTheDirBack(t *testing.T) {
	hidden := daemondir.QuarantinePrefix + "a"
	for _, row := range []struct {
		when, step, dir string
	}{
		{"before the rename", "judged", "a"},
		{"before the comparison", "renamed", hidden},
		{"while the dir is emptied", "looked", hidden},
	} {
		for _, attack := range []struct {
			rule string
			do   func(t *testing.T, d daemondirtest.Dir, sidecar string) (text string)
			late bool // also seen when the dir is being emptied
		}{
			{"a new sidecar", func(t *testing.T, _ daemondirtest.Dir, sidecar string) string {
				daemondirtest.WriteFile(t, sidecar, "new")
				return "new"
			}, true},
			{"a text of the same length and time", func(t *testing.T, _ daemondirtest.Dir, sidecar string) string {
				return rewrite(t, sidecar)
			}, true},
			{"a pid file", func(t *testing.T, d daemondirtest.Dir, sidecar string) string {
				daemondirtest.WriteFile(t, d.PIDFile(), strconv.Itoa(os.Getpid()))
				return daemondirtest.ReadFile(t, sidecar)
			}, false},
			{"a mark", func(t *testing.T, d daemondirtest.Dir, sidecar string) string {
				if made, err := daemondir.Protect(d.Root, d.Name); !made || err != nil {
					t.Error(made, err)
				}
				return daemondirtest.ReadFile(t, sidecar)
			}, false},
		} {
			if row.step == "looked" && !attack.late {
				continue
			}
			t.Run(attack.rule+" "+row.when, func(t *testing.T) {
				var text string
				d, e, m := unleased(t, row.step, func(root string) {
					d := daemondirtest.Dir{Root: root, Name: row.dir}
					text = attack.do(t, d, filepath.Join(d.Path(), "a.daemon.json"))
				})
				want := Respawned
				if attack.rule == "a mark" {
					want = Protected
				}
				if r := m.remove(e); r.kept != want || r.err != nil || r.hidden != "" || !r.putBack {
					t.Errorf("%+v, want %s, and that it is put back", r, want)
				}
				if got := daemondirtest.ReadFile(t, d.Sidecar()); got != text || text == "" {
					t.Errorf("the sidecar is %q, want %q", got, text)
				}
			})
		}
	}
}

// Another dir that has the name when it is renamed is given it back, even if its files say the
// same; what was judged is not there any more.
func TestUnleasedAnotherDir(t *testing.T) {
	d, e, m := unleased(t, "judged", func(root string) {
		old, fresh := daemondirtest.Dir{Root: root, Name: "a"}, daemondirtest.Dir{Root: root, Name: "b"}
		err := errors.Join(fresh.Mkdir(),
			os.Rename(old.Sidecar(), filepath.Join(fresh.Path(), "a.daemon.json")),
			os.Rename(old.PIDFile(), fresh.PIDFile()),
			os.Rename(old.Path(), old.Path()+"-away"),
			os.Rename(fresh.Path(), old.Path()))
		if err != nil {
			t.Error(err)
		}
	})
	if r := m.remove(e); r.kept != Changed || r.err != nil || r.hidden != "" || !r.putBack {
		t.Errorf("%+v, want changed, and that it is put back", r)
	}
	if _, err := os.Stat(d.Sidecar()); err != nil {
		t.Error(err)
	}
}

// A dir that is not put back because the next daemon has its name stays, under the hidden one.
func TestUnleasedNameTaken(t *testing.T) {
	d, e, m := unleased(t, "renamed", func(root string) {
		daemondirtest.Make(t, root, "a", "{}", "")
		rewrite(t, filepath.Join(root, daemondir.QuarantinePrefix+"a", "a.daemon.json"))
	})
	hidden := daemondir.QuarantinePrefix + "a"
	if r := m.remove(e); r.kept != Respawned || r.hidden != hidden || r.putBack {
		t.Errorf("%+v, want respawned, hidden", r)
	}
	if daemondirtest.ReadFile(t, d.Sidecar()) != "{}" {
		t.Error("the next daemon has lost its sidecar")
	}
	if text := daemondirtest.ReadFile(t, filepath.Join(d.Root, hidden, "a.daemon.json")); !strings.Contains(text, "public") {
		t.Errorf("the spawner's text is lost: %q", text)
	}
}

// If nothing happens, the dir is removed, the trampoline and read-only files with it.
func TestUnleasedRemoval(t *testing.T) {
	d, e, m := unleased(t, "", nil)
	for _, name := range []string{"a", "read-only.log"} {
		path := filepath.Join(d.Path(), name)
		daemondirtest.WriteFile(t, path, "x")
		old := time.Now().Add(-3 * time.Hour)
		if err := errors.Join(os.Chtimes(path, old, old), os.Chmod(path, 0o444)); err != nil {
			t.Fatal(err)
		}
	}
	r := m.remove(e)
	if r.kept != "" || r.err != nil || r.Files != 5 || d.Exists() {
		t.Errorf("%+v; it exists: %v", r, d.Exists())
	}
	if left, err := os.ReadDir(d.Root); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// What a crash in the middle of a refresh left holds the daemon's environment. It is removed
// before anything else is done in the root; what may still be in use is not.
func TestTempOfACrashIsRemoved(t *testing.T) {
	if fsys.HasLeases {
		t.Skip("a refresh makes no temporary files on this system")
	}
	b := newBench(t, Options{})
	now := time.Now()
	// Alive: it does not say when it was spawned, so its pid decides.
	daemondirtest.Make(t, b.root, "live", "{}", strconv.Itoa(os.Getpid()))
	var temps []string
	for name, age := range map[string]time.Duration{"dead": time.Hour, "new": 0} {
		dead := daemondirtest.MakeDead(t, b.root, name, time.Second)
		temp := filepath.Join(dead.Path(), ".runtimegc.tmp")
		daemondirtest.WriteFile(t, temp, daemondirtest.Secret)
		if err := os.Chtimes(temp, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
		if age > 0 {
			temps = append(temps, temp)
		}
	}
	b.sweep()
	for _, temp := range temps {
		if _, err := os.Lstat(temp); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", temp, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(b.root, "new", ".runtimegc.tmp")); err != nil {
		t.Errorf("that of a refresh that may be going on is gone: %v", err)
	}
}

package prune

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// A follower that has no leases replaces a sidecar to refresh it. That breaks no lease, and
// yet it says that the daemon is alive.
func TestSidecarIsReplacedDuringRemoval(t *testing.T) {
	root := t.TempDir()
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	m := newTestRemover(t, root, false)
	m.reached = func(reached string) {
		if reached != "judged" {
			return
		}
		now := daemondirtest.Sidecar(time.Now(), time.Now())
		fresh := filepath.Join(root, "fresh")
		if err := errors.Join(os.WriteFile(fresh, now, 0o644), os.Rename(fresh, d.Sidecar())); err != nil {
			t.Error(err)
		}
	}
	if r := m.remove(entryOf(t, d)); r.kept != Changed || !d.Exists() {
		t.Errorf("%+v, want it kept as changed", r)
	}
}

// Whatever takes the name of a dir between two steps of its removal is not what was
// judged, and stays.
func TestNameIsTakenDuringRemoval(t *testing.T) {
	for _, step := range []string{"judged", "renamed", "looked"} {
		for rule, swap := range map[string]func(path, neighbour string) error{
			"by another dir": func(path, neighbour string) error {
				return unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, neighbour, unix.RENAME_EXCHANGE)
			},
			"by a symlink to another dir": func(path, neighbour string) error {
				return errors.Join(os.Rename(path, path+"-away"), os.Symlink(filepath.Base(neighbour), path))
			},
		} {
			t.Run(step+", "+rule, func(t *testing.T) {
				root := t.TempDir()
				d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
				neighbour := daemondirtest.MakeDead(t, root, "neighbour", time.Minute)
				precious := filepath.Join(neighbour.Path(), "precious")
				daemondirtest.WriteFile(t, precious, "stay")
				m := newTestRemover(t, root, false)
				m.reached = func(reached string) {
					if reached != step {
						return
					}
					path := d.Path()
					if step != "judged" {
						path = filepath.Join(root, daemondir.QuarantinePrefix+"a")
					}
					if err := swap(path, neighbour.Path()); err != nil {
						t.Error(err)
					}
				}
				r := m.remove(entryOf(t, d))
				if r.kept == "" {
					t.Errorf("removed: %+v", r)
				}
				found := ""
				_ = filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
					if entry != nil && entry.Name() == "precious" {
						found = path
					}
					return nil
				})
				if found == "" {
					t.Error("the neighbour was emptied")
				}
			})
		}
	}
}

// A refresh without a lease writes into the dir that was judged, not into what a symlink
// in its place leads to.
func TestReplaceFollowsNoSymlink(t *testing.T) {
	root := t.TempDir()
	d := daemondirtest.Make(t, root, "a", sidecarText(1, 2), "")
	precious := daemondirtest.Make(t, t.TempDir(), "a", sidecarText(1, 2), "")
	id := entryOf(t, d).Dir
	f := openSidecar(t, d, daemondir.ReadWrite)
	text, said, _ := f.Text()
	tail, offset := said.WithLastSeen(text, 3)
	if err := errors.Join(os.Rename(d.Path(), d.Path()+"-away"), os.Symlink(precious.Path(), d.Path())); err != nil {
		t.Fatal(err)
	}
	before, _ := os.Stat(precious.Path())
	if err := fsys.Replace(d.Sidecar(), id, f, text, tail, offset); !errors.Is(err, fsys.ErrChanged) {
		t.Errorf("error %v", err)
	}
	after, _ := os.Stat(precious.Path())
	if !before.ModTime().Equal(after.ModTime()) || daemondirtest.ReadFile(t, precious.Sidecar()) != sidecarText(1, 2) {
		t.Error("it wrote outside of the root")
	}
}

// What an interrupted removal cannot have left is neither a failure nor renamed.
func TestForeignLeftovers(t *testing.T) {
	for rule, build := range map[string]func(dir string) error{
		"sidecar is a symlink": func(dir string) error { return os.Symlink("y", filepath.Join(dir, "x.daemon.json")) },
		"sidecar is a dir":     func(dir string) error { return os.Mkdir(filepath.Join(dir, "x.daemon.json"), 0o755) },
		"sidecar is no JSON":   func(dir string) error { return os.WriteFile(filepath.Join(dir, "x.daemon.json"), nil, 0o644) },
	} {
		t.Run(rule, func(t *testing.T) {
			b := newBench(t, Options{})
			dir := filepath.Join(b.root, daemondir.QuarantinePrefix+"x")
			if err := errors.Join(os.Mkdir(dir, 0o755), build(dir)); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if stats, _ := b.sweep(); stats.Failed != 0 || stats.Removed != 0 {
					t.Errorf("%+v", stats)
				}
			}
			if _, err := os.Stat(dir); err != nil {
				t.Error(err)
			}
			if lines := b.log.Events("daemon.kept"); len(lines) != 1 {
				t.Errorf("said %d times: %v", len(lines), lines)
			}
		})
	}
}

// Every file of a removed tree is counted, whatever its name, and a large tree takes no
// more memory than a small one.
func TestRemovalCountsEveryFile(t *testing.T) {
	b := newBench(t, Options{})
	d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	deep := filepath.Join(d.Path(), "\xff\xfe", "\n", "...")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	daemondirtest.WriteFile(t, filepath.Join(deep, "log"), "12345")
	daemondirtest.MakeOld(t, d.Path(), 2*time.Hour)
	size := int64(5 + len(daemondirtest.ReadFile(t, d.Sidecar())) + len(daemondirtest.ReadFile(t, d.PIDFile())))
	b.wantRemoved(d)
	// dir, sidecar, pid, three directories, log
	if line := b.log.Events("daemon.removed")[0]; line["files"] != 7.0 || line["bytes"] != float64(size) {
		t.Errorf("logged %v, want 7 files, %d bytes", line, size)
	}
}

package fsys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"runtimegc/registry/daemondir/daemondirtest"
)

func measureTree(t *testing.T, root, name string) (Freed, error) {
	t.Helper()
	r, d := openIn(t, root, name)
	return r.Measure(d, name)
}

// What is measured is what Empty then frees, however deep and wide the tree is.
func TestMeasureIsWhatIsFreed(t *testing.T) {
	for _, row := range []struct{ files, dirs, depth int }{{0, 0, 0}, {1, 2, 4}, {2, 1, 30}, {300, 1, 1}, {1500, 1, 1}} {
		t.Run(fmt.Sprint(row), func(t *testing.T) {
			root := rootFor(t, row.files)
			top := filepath.Join(root, "top")
			if err := os.Mkdir(top, 0o755); err != nil {
				t.Fatal(err)
			}
			grow(t, top, row.files, row.dirs, row.depth)
			var want int64
			err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
				if err == nil && !entry.IsDir() {
					want += 7
					err = os.WriteFile(path, []byte("7 bytes"), 0o600)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			measured, err := measureTree(t, root, "top")
			if err != nil || measured.Bytes != want {
				t.Fatalf("%+v, %v; want %d bytes", measured, err, want)
			}
			r, err := OpenRoot(root)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			d, err := r.Open("top")
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			tree, err := r.OpenTree(d, "top")
			if err != nil {
				t.Fatal(err)
			}
			defer tree.Close()
			freed := Freed{Files: 1} // the top, which Empty leaves
			if err := tree.Empty("", &freed, nil); err != nil || freed != measured {
				t.Errorf("measured %+v, freed %+v, %v", measured, freed, err)
			}
		})
	}
}

// A file with a link elsewhere, such as a trampoline, frees nothing, and a symlink leads nowhere.
func TestMeasureLeavesOutLinks(t *testing.T) {
	root := t.TempDir()
	elsewhere := filepath.Join(root, "binary")
	top := filepath.Join(root, "top")
	if err := errors.Join(
		os.WriteFile(elsewhere, make([]byte, 5000), 0o600),
		os.Mkdir(filepath.Join(root, "other"), 0o755),
		os.WriteFile(filepath.Join(root, "other", "file"), make([]byte, 300), 0o600),
		os.Mkdir(top, 0o755),
		os.WriteFile(filepath.Join(top, "own"), make([]byte, 10), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(elsewhere, filepath.Join(top, "trampoline")); err != nil {
		t.Skipf("no hard links: %v", err)
	}
	want := Freed{Files: 4, Bytes: 10}
	if err := daemondirtest.Symlink(filepath.Join(root, "other"), filepath.Join(top, "symlink")); err != nil {
		t.Logf("no symlinks: %v", err)
		want.Files--
	}
	if got, err := measureTree(t, root, "top"); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
}

package fsys

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"runtimegc/registry/daemondir/daemondirtest"
)

// openTestTree opens the directory name of a root to be emptied.
func openTestTree(t *testing.T, root, name string) *Tree {
	t.Helper()
	tree, done := borrowTestTree(t, root, name)
	t.Cleanup(done)
	return tree
}

// borrowTestTree is openTestTree for a tree that the caller closes, with done.
func borrowTestTree(t *testing.T, root, name string) (tree *Tree, done func()) {
	t.Helper()
	r, err := OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	d, err := r.Open(name)
	if err == nil {
		tree, err = r.OpenTree(d, name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return tree, func() {
		tree.Close()
		d.Close()
		r.Close()
	}
}

// rootFor returns a directory on the disk, or in memory for more than a thousand files.
func rootFor(t *testing.T, files int) string {
	if files > 1000 {
		return daemondirtest.MemoryDir(t)
	}
	return t.TempDir()
}

// grow makes a tree in dir: so many files and so many subdirectories in each directory,
// down to that depth, and below each leaf a chain of directories that is longer than what
// is open at a time. It returns how many files and directories there are.
func grow(t *testing.T, dir string, files, dirs, depth int) int {
	t.Helper()
	count := 0
	for i := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("f", i)), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
		count++
	}
	if depth == 0 {
		chain := dir
		for range 12 {
			chain = filepath.Join(chain, "c")
			count++
		}
		if err := os.MkdirAll(chain, 0o755); err != nil {
			t.Fatal(err)
		}
		return count
	}
	for i := range dirs {
		below := filepath.Join(dir, fmt.Sprint("d", i))
		if err := os.Mkdir(below, 0o755); err != nil {
			t.Fatal(err)
		}
		count += 1 + grow(t, below, files, dirs, depth-1)
	}
	return count
}

// Whatever the shape of a tree, all of it is removed and counted, and what is to be spared
// stays: only at the top.
func TestEmpty(t *testing.T) {
	for _, row := range []struct{ files, dirs, depth int }{{0, 0, 0}, {3, 0, 0}, {1, 3, 4}, {2, 1, 30}, {300, 1, 1}, {2500, 1, 1}, {0, 50, 1}} {
		t.Run(fmt.Sprint(row), func(t *testing.T) {
			root := rootFor(t, row.files)
			top := filepath.Join(root, "top")
			if err := os.MkdirAll(filepath.Join(top, "in", "spare"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(top, "spare"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			want := 2 + grow(t, top, row.files, row.dirs, row.depth)
			tree := openTestTree(t, root, "top")
			var freed Freed
			calls := 0
			if err := tree.Empty("spare", &freed, func(string) { calls++ }); err != nil {
				t.Fatal(err)
			}
			if freed.Files != want || calls != want {
				t.Errorf("%d removed, %d calls, want %d", freed.Files, calls, want)
			}
			left, err := os.ReadDir(top)
			if err != nil || len(left) != 1 || left[0].Name() != "spare" {
				t.Errorf("left: %v, %v", left, err)
			}
			if err := tree.Remove("spare", &freed); err != nil || freed.Files != want+1 {
				t.Errorf("%v, %d removed", err, freed.Files)
			}
			if err := tree.Remove("spare", &freed); err != nil || freed.Files != want+1 {
				t.Errorf("removed twice: %v, %d removed", err, freed.Files)
			}
		})
	}
}

// Who goes on putting files into a directory that is being emptied does not keep us for
// ever.
func TestEmptyEnds(t *testing.T) {
	root := t.TempDir()
	in := filepath.Join(root, "top", "in")
	if err := os.MkdirAll(in, 0o755); err != nil {
		t.Fatal(err)
	}
	refill := func() {
		for _, name := range []string{"a", "b"} {
			if err := os.WriteFile(filepath.Join(in, name), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	refill()
	tree := openTestTree(t, root, "top")
	var freed Freed
	err := tree.Empty("", &freed, func(string) {
		if left, _ := os.ReadDir(in); len(left) == 0 {
			refill()
		}
		if freed.Files > 1000 {
			t.Fatal("it does not end")
		}
	})
	if !errors.Is(err, errNotEmpty) {
		t.Errorf("error %v after %d files", err, freed.Files)
	}
}

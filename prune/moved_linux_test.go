package prune

import (
	"errors"
	"maps"
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

// filesBelow returns the files and directories below path.
func filesBelow(t *testing.T, path string) map[string]bool {
	t.Helper()
	found := make(map[string]bool)
	err := filepath.WalkDir(path, func(path string, _ os.DirEntry, err error) error {
		found[path] = true
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What is moved out of the root, or elsewhere in it, while it is being removed is
// somebody's by then: it loses nothing more.
func TestMovedDuringRemoval(t *testing.T) {
	hidden := daemondir.QuarantinePrefix + "a"
	for _, row := range []struct {
		rule string
		from string // in the root
		to   string // in the directory that the root is in
		deep int    // how many levels below sub there are files
	}{
		{"the whole, out of the root", hidden, "elsewhere", 0},
		{"the whole, elsewhere in the root", hidden, "root/b", 0},
		{"the whole, from deep inside", hidden, "elsewhere", 3},
		{"a subdirectory", hidden + "/sub", "elsewhere", 3},
		{"a subdirectory, to the same depth", hidden + "/sub", "root/other/sub", 3},
		{"the directory that is being emptied", hidden + "/sub/d/d/d", "elsewhere", 3},
		{"one further up than is open", hidden + "/sub/d", "elsewhere", 20},
	} {
		t.Run(row.rule, func(t *testing.T) {
			base := t.TempDir()
			root := filepath.Join(base, "root")
			d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
			daemondirtest.Make(t, root, "other", "", "")
			// Nothing at the top but the sidecar and sub, or else the files.
			_ = os.Remove(d.PIDFile())
			in := d.Path()
			if row.deep > 0 {
				in = filepath.Join(in, "sub", strings.Repeat("d/", row.deep))
			}
			if err := os.MkdirAll(in, 0o755); err != nil {
				t.Fatal(err)
			}
			for i := range 50 {
				daemondirtest.WriteFile(t, filepath.Join(in, strconv.Itoa(i)), "")
			}
			daemondirtest.MakeOld(t, d.Path(), 2*time.Hour)
			m := newTestRemover(t, root, false)
			to := filepath.Join(base, row.to)
			count := 0
			var left map[string]bool
			m.reached = func(step string) {
				if strings.HasPrefix(step, "removed ") {
					count++
				}
				if left == nil && count == 13 {
					if err := os.Rename(filepath.Join(root, row.from), to); err != nil {
						t.Fatal(err)
					}
					left = filesBelow(t, to)
				}
			}
			r := m.remove(entryOf(t, d))
			if left == nil {
				t.Fatalf("it was not moved; %d names were removed", count)
			}
			if r.kept != Changed || !errors.Is(r.err, fsys.ErrReplaced) {
				t.Errorf("kept because %q: %v", r.kept, r.err)
			}
			if after := filesBelow(t, to); len(left) < 30 || !maps.Equal(left, after) {
				t.Errorf("%d files and directories were there when it was moved, %d are now", len(left), len(after))
			}
		})
	}
}

// The sidecar is not open any more when it is removed.
func TestSidecarIsClosedBeforeItIsRemoved(t *testing.T) {
	root := t.TempDir()
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	m := newTestRemover(t, root, false)
	looked := 0
	m.reached = func(step string) {
		if step != "removed sidecar" {
			return
		}
		looked++
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skipf("no /proc: %v", err)
		}
		for _, fd := range fds {
			// Not one of a root of another test, which may have begun something that is not over.
			if path, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.HasPrefix(path, m.root.RealPath()) && strings.Contains(path, "a.daemon.json") {
				t.Errorf("%s: %s is open", step, path)
			}
		}
	}
	if r := m.remove(entryOf(t, d)); r.kept != "" || looked != 1 {
		t.Errorf("%+v, looked %d times", r, looked)
	}
}

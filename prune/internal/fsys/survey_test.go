package fsys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
)

// openIn opens a root, and the directory name in it, until the test ends.
func openIn(t *testing.T, root, name string) (*Root, *daemondir.Dir) {
	t.Helper()
	r, d, done := borrowIn(t, root, name)
	t.Cleanup(done)
	return r, d
}

// borrowIn is openIn for who closes them, with done, before the test ends.
func borrowIn(t *testing.T, root, name string) (r *Root, d *daemondir.Dir, done func()) {
	t.Helper()
	r, err := OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	d, err = r.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return r, d, func() {
		d.Close()
		r.Close()
	}
}

// surveyTree surveys the directory name of a root for what was written after a time.
func surveyTree(t *testing.T, root, name string, after time.Time) (Finding, error) {
	t.Helper()
	r, d, done := borrowIn(t, root, name)
	defer done()
	return r.Survey(d, name, SurveyOptions{
		WrittenAfter: after,
		Spawners:     func(name string) bool { return name == "own" },
	})
}

// A survey comes to every file, and says which one it is, however far up and down the way
// to it leads.
func TestSurveyComesToEveryFile(t *testing.T) {
	surveys := 50
	if runtime.GOOS == "windows" {
		surveys = 5 // under Wine a survey of 600 files takes some 5 s
	}
	for _, row := range []struct{ files, dirs, depth int }{{1, 2, 4}, {2, 1, 30}, {600, 1, 1}} {
		t.Run(fmt.Sprint(row), func(t *testing.T) {
			root := t.TempDir()
			top := filepath.Join(root, "top")
			if err := os.Mkdir(top, 0o755); err != nil {
				t.Fatal(err)
			}
			grow(t, top, row.files, row.dirs, row.depth)
			old := time.Now().Add(-2 * time.Hour)
			var files []string
			err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
				if err == nil && !entry.IsDir() {
					files = append(files, path)
					err = os.Chtimes(path, old, old)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if found, err := surveyTree(t, root, "top", time.Now().Add(-time.Hour)); err != nil || found != (Finding{}) {
				t.Fatalf("%+v, %v", found, err)
			}
			for i := 0; i < len(files); i += 1 + len(files)/surveys {
				if err := os.Chtimes(files[i], time.Now(), time.Now()); err != nil {
					t.Fatal(err)
				}
				found, err := surveyTree(t, root, "top", time.Now().Add(-time.Hour))
				if want := strings.TrimPrefix(files[i], top+string(filepath.Separator)); err != nil || filepath.FromSlash(found.Written) != want {
					t.Fatalf("found %+v, %v; want %s", found, err, want)
				}
				if err := os.Chtimes(files[i], old, old); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// What counts as one's own is only so at the top.
func TestSurveySpawnersFiles(t *testing.T) {
	root := t.TempDir()
	in := filepath.Join(root, "top", "in")
	if err := os.MkdirAll(in, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Dir(in), in} {
		if err := os.WriteFile(filepath.Join(dir, "own"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := surveyTree(t, root, "top", time.Now().Add(-time.Hour)); err != nil || found.Written != "in/own" {
		t.Errorf("found %+v, %v", found, err)
	}
}

// Where there is a limit to the depth, a survey says so before anything is removed.
func TestSurveyTooDeep(t *testing.T) {
	if maxDepth > 1000 {
		t.Skip("there is none")
	}
	root := t.TempDir()
	top := filepath.Join(root, "top")
	deepest := filepath.Join(top, strings.Repeat("d/", maxDepth))
	if err := os.MkdirAll(deepest, 0o755); err != nil {
		t.Fatal(err)
	}
	if found, err := surveyTree(t, root, "top", time.Now().Add(-time.Hour)); err != nil || found != (Finding{}) {
		t.Errorf("found %+v, %v", found, err)
	}
	var freed Freed
	if err := os.Mkdir(filepath.Join(deepest, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if found, err := surveyTree(t, root, "top", time.Now().Add(-time.Hour)); err != nil || !errors.Is(found.Obstacle, ErrTooDeep) {
		t.Errorf("found %+v, %v", found, err)
	}
	if err := os.Remove(filepath.Join(deepest, "d")); err != nil {
		t.Fatal(err)
	}
	if err := openTestTree(t, root, "top").Empty("", &freed, nil); err != nil || freed.Files != maxDepth {
		t.Errorf("%d removed, %v", freed.Files, err)
	}
}

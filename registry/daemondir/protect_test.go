package daemondir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"runtimegc/registry/daemondir/daemondirtest"
)

func TestProtect(t *testing.T) {
	root := t.TempDir()
	daemondirtest.Make(t, root, "a", "{}", "1")
	want := func(protected bool) {
		t.Helper()
		if e, err := Read(root, "a"); err != nil || e.Protected != protected || e.Problem != ProblemNone || !e.PID.Known {
			t.Errorf("%+v, %v, want protected: %v", e, err, protected)
		}
	}
	want(false)
	for _, step := range []struct {
		do        func(root, name string) (bool, error)
		changed   bool
		protected bool
	}{
		{Unprotect, false, false}, {Protect, true, true}, {Protect, false, true}, {Unprotect, true, false},
	} {
		if changed, err := step.do(root, "a"); changed != step.changed || err != nil {
			t.Errorf("changed: %v, %v, want %v", changed, err, step.changed)
		}
		want(step.protected)
	}
	// Whatever has the name is a mark: it is for people to remove.
	symlink(t, "nowhere", filepath.Join(root, "a", protectMark))
	want(true)
}

// No mark is left where a symlink leads.
func TestProtectNoDir(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	symlink(t, outside, filepath.Join(root, "link"))
	for _, name := range []string{"link", "missing"} {
		if changed, err := Protect(root, name); changed || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: changed: %v, %v, want no such dir", name, changed, err)
		}
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("outside: %v, %v", left, err)
	}
	// Nor is it said that a file has one already.
	daemondirtest.WriteFile(t, filepath.Join(root, "file"), "")
	for _, change := range []func(root, name string) (bool, error){Protect, Unprotect} {
		if changed, err := change(root, "file"); changed || err == nil {
			t.Errorf("a file: changed: %v, %v, want an error", changed, err)
		}
	}
}

// A mark in a dir that a removal is moving out of sight meanwhile is not said to be made.
func TestProtectWhatIsBeingRemoved(t *testing.T) {
	root := t.TempDir()
	d := daemondirtest.Make(t, root, "a", "{}", "1")
	changed, err := changeMark(root, "a", func(*os.Root) error {
		return os.Rename(d.Path(), filepath.Join(root, QuarantinePrefix+"a"))
	}, fs.ErrExist)
	if changed || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("changed: %v, %v, want no such dir", changed, err)
	}
}

package fsys

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir"
)

// Only what changes where a root stands counts, even if that is undone by then.
func TestStayed(t *testing.T) {
	for _, row := range []struct {
		rule   string
		stayed bool
		do     func(parent, root string) error
	}{
		{"nothing", true, func(string, string) error { return nil }},
		{"files in it", true, func(_, root string) error { return makeAndRemove(root) }},
		{"files beside it", true, func(parent, _ string) error { return makeAndRemove(parent) }},
		{"away", false, func(parent, root string) error { return os.Rename(root, parent+"/away") }},
		{"away and back", false, func(parent, root string) error {
			return errors.Join(os.Rename(root, parent+"/away"), os.Rename(parent+"/away", root))
		}},
		{"the directory above it, away and back", false, func(parent, _ string) error {
			return errors.Join(os.Rename(parent, parent+"-away"), os.Rename(parent+"-away", parent))
		}},
		{"another in its place", false, func(parent, root string) error {
			return errors.Join(os.Rename(root, parent+"/away"), os.Mkdir(root, 0o755))
		}},
		{"exchanged, and back", false, func(parent, root string) error {
			other := parent + "/other"
			swap := func() error {
				return unix.Renameat2(unix.AT_FDCWD, root, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE)
			}
			return errors.Join(os.Mkdir(other, 0o755), swap(), swap())
		}},
		{"mounted over for a moment", false, func(_, root string) error {
			if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=64k"); err != nil {
				return err
			}
			return unix.Unmount(root, unix.MNT_DETACH)
		}},
	} {
		t.Run(row.rule, func(t *testing.T) {
			t.Parallel()
			if portable && !row.stayed && row.rule != "away" && row.rule != "another in its place" {
				t.Skip("what is undone is not seen there")
			}
			parent := filepath.Join(t.TempDir(), "parent")
			root := filepath.Join(parent, "root")
			if err := os.MkdirAll(root, 0o755); err != nil {
				t.Fatal(err)
			}
			r, err := OpenRoot(root)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			time.Sleep(3 * Tick)
			// A mount elsewhere in the system is a change, too: then once more.
			for attempt := 1; ; attempt++ {
				was, err := r.Position()
				if err != nil {
					t.Fatal(err)
				}
				if err := row.do(parent, root); errors.Is(err, unix.EPERM) {
					t.Skipf("no bind mounts: %v", err)
				} else if err != nil {
					t.Fatal(err)
				}
				err = r.Stayed(was)
				if stayed := err == nil; stayed == row.stayed {
					return
				}
				if !row.stayed || attempt == 10 {
					t.Fatalf("%v", err)
				}
			}
		})
	}
}

func makeAndRemove(in string) error {
	name := filepath.Join(in, "file")
	return errors.Join(os.WriteFile(name, nil, 0o644), os.Remove(name))
}

// Only a directory that was there all the while, and was not changed, stood.
func TestStoodAt(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "a")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	id, err := r.ID("a")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * Tick)
	p, err := r.Position()
	if err != nil {
		t.Fatal(err)
	}
	stood := func(id daemondir.FileID, p Position) bool {
		t.Helper()
		ok, err := r.StoodAt("a", id, p)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if !stood(id, p) || stood(daemondir.FileID{Dev: id.Dev, Ino: id.Ino + 1}, p) {
		t.Error("it is taken for another, or another for it")
	}
	if err := errors.Join(os.Rename(path, path+"-away"), os.Rename(path+"-away", path)); err != nil {
		t.Fatal(err)
	}
	if stood(id, p) && !portable {
		t.Error("it was away, and it is not seen")
	}
}

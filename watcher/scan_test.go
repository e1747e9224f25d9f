package watcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// A single pass must see what the watcher sees.
func TestScanEqualsWatcher(t *testing.T) {
	root := newRoot(t)
	for i := range 3 * scanBatch {
		spawn(t, root, fmt.Sprint("daemon", i), i)
	}
	mkdir(t, filepath.Join(root, "empty"))
	mkdir(t, filepath.Join(root, daemondir.QuarantinePrefix+"left"))
	daemondirtest.WriteFile(t, filepath.Join(root, "file"), "no daemon dir")

	w := start(t, setup{Root: root})
	w.waitFor("root.found", 1)
	w.waitEqual()
	if want := 3*scanBatch + 2; w.registry.Len() != want {
		t.Errorf("%d entries, want %d", w.registry.Len(), want)
	}
}

// Names are in order, however the file system lists them, and so is what is read of them.
func TestDirsAreInOrder(t *testing.T) {
	root := newRoot(t)
	for i := range 3 * scanBatch {
		mkdir(t, filepath.Join(root, fmt.Sprint("daemon", i*37%(3*scanBatch))))
	}
	names, err := Dirs(root)
	if err != nil || len(names) != 3*scanBatch || !slices.IsSorted(names) {
		t.Errorf("%q, %v", names, err)
	}
	var read []string
	err = ReadDirs(t.Context(), root, names, func(e daemondir.Entry) error {
		read = append(read, e.Name)
		return nil
	})
	if err != nil || !slices.Equal(read, names) {
		t.Errorf("read as %q, %v", read, err)
	}
}

// Nothing there yet is the normal state before the first spawn.
func TestScanMissingRoot(t *testing.T) {
	reg := registry.New(filepath.Join(t.TempDir(), "no", "runtime"))
	if err := Scan(t.Context(), reg); err != nil {
		t.Error(err)
	}
	if reg.Len() > 0 {
		t.Error("entries of nothing")
	}
}

// A pass over one dir knows that one only, and no name leads elsewhere.
func TestScanDir(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	spawn(t, root, "b", 2)
	spawn(t, filepath.Dir(root), "outside", 3)
	reg := registry.New(root)
	for _, name := range []string{"missing", "", ".", "..", "../outside", "a/../b", "/a", "a/"} {
		if err := ScanDir(t.Context(), reg, name); !errors.Is(err, fs.ErrNotExist) || reg.Len() > 0 {
			t.Errorf("%q: %v, and %d entries", name, err, reg.Len())
		}
	}
	if err := ScanDir(t.Context(), reg, "a"); err != nil || !slices.Equal(reg.Names(), []string{"a"}) {
		t.Errorf("%v, entries of %q", err, reg.Names())
	}
	if err := ScanDir(t.Context(), reg, "b"); err != nil || reg.Len() != 2 {
		t.Errorf("%v, entries of %q", err, reg.Names())
	}
	w, err := reg.Write()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := ScanDir(t.Context(), reg, "a"); !errors.Is(err, registry.ErrWritten) {
		t.Errorf("beside another writer: %v", err)
	}
	if err := Scan(t.Context(), reg); !errors.Is(err, registry.ErrWritten) {
		t.Errorf("all, beside another writer: %v", err)
	}
}

func TestScanRootThatIsAFile(t *testing.T) {
	root := filepath.Join(t.TempDir(), "runtime")
	daemondirtest.WriteFile(t, root, "")
	if err := Scan(t.Context(), registry.New(root)); err == nil {
		t.Error("a file is served as a root")
	}
}

// What a symlink leads to is not in the root: it is not ours to judge.
func TestScanSkipsSymlinks(t *testing.T) {
	root := newRoot(t)
	elsewhere := newRoot(t)
	spawn(t, elsewhere, "a", 1)
	spawn(t, root, "b", 2)
	for name, target := range map[string]string{
		"a":       filepath.Join(elsewhere, "a"),
		"c":       filepath.Join(root, "b"),
		"self":    root,
		"nowhere": filepath.Join(root, "nothing"),
	} {
		if err := daemondirtest.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Skipf("no symlinks: %v", err)
		}
	}
	reg := registry.New(root)
	if err := Scan(t.Context(), reg); err != nil {
		t.Fatal(err)
	}
	if got := reg.Names(); !slices.Equal(got, []string{"b"}) {
		t.Errorf("entries %q, want b only", got)
	}
	// The watcher gets events on the links, too.
	w := start(t, setup{Root: root})
	w.waitPID("b", 2)
	if err := daemondirtest.Symlink(filepath.Join(root, "b"), filepath.Join(root, "late")); err != nil {
		t.Fatal(err)
	}
	spawn(t, root, "d", 3)
	w.waitPID("d", 3)
	w.waitEqual()
	removeAll(t, filepath.Join(root, "late"))
	w.checkWatched()
}

func TestScanIsCancelled(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Scan(ctx, registry.New(root)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

// A birth during the scan of 100,000 dirs must not wait for its end.
func TestScanReadsHintsFirst(t *testing.T) {
	root := newRoot(t)
	for i := range 2 * scanBatch {
		mkdir(t, filepath.Join(root, fmt.Sprint("daemon", i)))
	}
	onDisk, err := listDirs(root, nil)
	if err != nil {
		t.Fatal(err)
	}
	last := onDisk[len(onDisk)-1]

	w := prepare(t, setup{Root: root})
	s := w.newSession()
	defer s.end()
	s.pending.names.Add(last, time.Time{})
	s.scan(t.Context())
	if order := names(w.changes.Queue); order[0] != last || len(order) != len(onDisk) {
		t.Errorf("%q is number %d of %d", last, slices.Index(order, last), len(order))
	}
}

// Another directory in the place of the root is not listed.
func TestOtherDirectoryIsNotListed(t *testing.T) {
	root := newRoot(t)
	is, was := inspectRoot(root), inspectRoot(newRoot(t))
	if _, err := listDirs(root, is.info); err != nil {
		t.Error(err)
	}
	if _, err := listDirs(root, was.info); !errors.Is(err, errReplaced) {
		t.Errorf("error %v, want errReplaced", err)
	}
}

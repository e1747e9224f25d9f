package watcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
)

// readDirs returns the names that ReadDirs visits, and its error. visited, if not nil, may end it.
func readDirs(ctx context.Context, root string, names []string, visited func(name string) error) (got []string, err error) {
	err = ReadDirs(ctx, root, names, func(e daemondir.Entry) error {
		got = append(got, e.Name)
		if visited == nil {
			return nil
		}
		return visited(e.Name)
	})
	return got, err
}

// A sidecar that is being written is waited for, and nothing is left out or out of order.
func TestReadDirsWaitsForALease(t *testing.T) {
	root := newRoot(t)
	for _, name := range []string{"a", "b", "c"} {
		spawn(t, root, name, 1)
	}
	hold := func() {
		held := lease(t, sidecarPath(root, "b"))
		time.AfterFunc(50*time.Millisecond, func() { held.Close() })
	}
	hold()
	if got, err := readDirs(t.Context(), root, []string{"c", "gone", "b", "a"}, nil); err != nil || !slices.Equal(got, []string{"c", "b", "a"}) {
		t.Errorf("visited %q, error %v", got, err)
	}
	hold()
	reg := registry.New(root)
	if err := ScanDir(t.Context(), reg, "b"); err != nil || reg.Len() != 1 {
		t.Errorf("alone: %d entries, error %v", reg.Len(), err)
	}
}

// One that stays busy does not outlast the context, which is the error then.
func TestReadDirsIsCancelledWhileItWaits(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	spawn(t, root, "b", 1)
	held := lease(t, sidecarPath(root, "b"))
	defer held.Close()
	for what, read := range map[string]func(ctx context.Context) error{
		"all": func(ctx context.Context) error {
			_, err := readDirs(ctx, root, []string{"a", "b"}, nil)
			return err
		},
		"one": func(ctx context.Context) error { return ScanDir(ctx, registry.New(root), "b") },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- read(ctx) }()
		select {
		case err := <-done:
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: error %v", what, err)
			}
		case <-time.After(patience):
			t.Errorf("%s: it still waits", what)
		}
	}
}

// After an error of visit no other dir is visited. When the context ends in the middle, the rest
// of many dirs is not.
func TestReadDirsEnds(t *testing.T) {
	root := newRoot(t)
	var all []string
	for i := range 4 * scanBatch {
		all = append(all, fmt.Sprint("daemon", i))
		mkdir(t, root+"/"+all[i])
	}
	failed := errors.New("enough")
	got, err := readDirs(t.Context(), root, all, func(name string) error {
		if name == all[2] {
			return failed
		}
		return nil
	})
	if !errors.Is(err, failed) || !slices.Equal(got, all[:3]) {
		t.Errorf("visited %q, error %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	got, err = readDirs(ctx, root, all, func(name string) error {
		if name == all[0] {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || len(got) == len(all) {
		t.Errorf("visited %d of %d, error %v", len(got), len(all), err)
	}
	if got, err = readDirs(t.Context(), root, all, nil); err != nil || !slices.Equal(got, all) {
		t.Errorf("visited %d of %d, error %v", len(got), len(all), err)
	}
}

// A dir that cannot be read is an error of a single pass, which would take it for gone otherwise,
// and so is a root that cannot be listed.
func TestReadDirsOutOfDescriptors(t *testing.T) {
	if !inChild(t, 0) {
		return
	}
	root := newRoot(t)
	spawn(t, root, "a", 1)
	spawn(t, root, "b", 1)
	names, err := Dirs(root)
	if err != nil || !slices.Equal(names, []string{"a", "b"}) {
		t.Fatalf("%q, %v", names, err)
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	got, readErr := readDirs(t.Context(), root, names, nil)
	reg := registry.New(root)
	_, listErr := Dirs(root)
	scanErr, oneErr := Scan(t.Context(), reg), ScanDir(t.Context(), reg, "a")
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if len(got) > 0 || reg.Len() > 0 {
		t.Errorf("visited %q, %d entries", got, reg.Len())
	}
	for what, err := range map[string]error{"dirs": readErr, "list": listErr, "all": scanErr, "one": oneErr} {
		if !errors.Is(err, unix.EMFILE) {
			t.Errorf("%s: error %v", what, err)
		}
	}
}

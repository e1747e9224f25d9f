package watcher

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// Two dirs that change places in one step: at no time is a name free.
func TestDirsAreSwapped(t *testing.T) {
	root := newRoot(t)
	a, b := filepath.Join(root, "a"), filepath.Join(root, "b")
	spawn(t, root, "a", 1)
	spawn(t, root, "b", 2)
	w := start(t, setup{Root: root})
	for round := range 100 {
		w.waitEqual()
		w.checkWatched()
		for range 1 + round%3 {
			swap(t, a, b)
		}
	}
	w.waitEqual()
	w.checkWatched()
}

// An empty dir that another one is renamed over is removed without an event in the root.
func TestDirIsRenamedOver(t *testing.T) {
	root := newRoot(t)
	a, b := filepath.Join(root, "a"), filepath.Join(root, "b")
	mkdir(t, a)
	mkdir(t, b)
	w := start(t, setup{Root: root})
	for range 50 {
		w.waitEqual()
		w.checkWatched()
		removeAll(t, filepath.Join(b, daemondir.PIDFileName))
		if err := unix.Rename(a, b); err != nil {
			t.Fatal(err)
		}
		mkdir(t, a)
	}
	w.waitEqual()
	w.checkWatched()
}

// A removed dir that somebody still works in tells of its end when that ends: long
// after another dir has taken its name.
func TestLateDeleteSelf(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	w := start(t, setup{Root: root})
	for range 30 {
		w.waitEqual()
		w.checkWatched()
		held, err := os.Open(filepath.Join(root, "a"))
		if err != nil {
			t.Fatal(err)
		}
		removeAll(t, filepath.Join(root, "a"))
		spawn(t, root, "a", 1)
		w.waitEqual()
		w.checkWatched()
		held.Close()
	}
	w.waitEqual()
	w.checkWatched()
}

// undrained is a session whose events nobody takes in: the test hands in the hints,
// in an order that the kernel gives only when it is loaded.
func undrained(t *testing.T, root string) *session {
	t.Helper()
	fsn, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fsn.Close() })
	w := prepare(t, setup{Root: root, PollInterval: time.Second})
	if w.reg, err = w.registry.Write(); err != nil {
		t.Fatal(err)
	}
	s := w.sessionBy(fsn, nil)
	s.last = inspectRoot(root)
	s.watches.addRoot(s.dir)
	return s
}

// untilIdle is a context that is done when no hint waits.
type untilIdle struct {
	context.Context
	s *session
}

func (c untilIdle) Done() <-chan struct{} {
	p := c.s.pending
	for _, q := range []*registry.Queue{p.names, p.ours, p.noisy, c.s.reg.Doubts()} {
		if len(q.Ready()) > 0 {
			return c.Context.Done()
		}
	}
	idle := make(chan struct{})
	close(idle)
	return idle
}

// settle runs the session's loop until no hint waits.
func (s *session) settle(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s.loop(untilIdle{ctx, s}, s.last)
	if ctx.Err() != nil {
		t.Fatal("hints do not come to an end")
	}
	if names := s.pending.names.Take(); len(names) > 0 {
		t.Fatalf("the session has ended before it has read %v", names)
	}
}

func (s *session) isWatched(name string) bool {
	return slices.Contains(s.watches.fsn.WatchList(), filepath.Join(s.dir, name))
}

// A dir is met under its new name before we hear of the rename. Add then returns the
// watch filed under the old name, which is about to vanish.
func TestAddReturnsWatchOfAnotherName(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	s := undrained(t, root)
	s.read("a")

	rename(t, filepath.Join(root, "a"), filepath.Join(root, "b"))
	s.pending.names.Add("b", time.Time{})
	s.settle(t)
	s.pending.event(fsnotify.Event{Name: filepath.Join(root, "a"), Op: fsnotify.Rename})
	s.settle(t)
	if !s.isWatched("b") || s.isWatched("a") {
		t.Errorf("watches %q", s.watches.fsn.WatchList())
	}
}

// The same with a dir that could not be read under its old name: nothing was known of
// the watch but that name.
func TestAddReturnsWatchOfUnreadName(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	daemondirtest.WriteFile(t, filepath.Join(root, "a", daemondir.SidecarName("b")), sidecar(1))
	leaseA := lease(t, sidecarPath(root, "a"))
	leaseB := lease(t, filepath.Join(root, "a", daemondir.SidecarName("b")))
	s := undrained(t, root)
	s.read("a")

	rename(t, filepath.Join(root, "a"), filepath.Join(root, "b"))
	s.pending.names.Take()
	s.read("b")
	s.pending.event(fsnotify.Event{Name: filepath.Join(root, "a"), Op: fsnotify.Rename})
	s.read("a")
	leaseA.Close()
	leaseB.Close()
	s.lookAtAll()
	s.settle(t)
	if !s.isWatched("b") || s.isWatched("a") {
		t.Errorf("watches %q", s.watches.fsn.WatchList())
	}
}

// A swap of which one half is heard of first.
func TestSwapInTwoBatches(t *testing.T) {
	for _, first := range []string{"a", "b"} {
		t.Run(first+" first", func(t *testing.T) {
			root := newRoot(t)
			spawn(t, root, "a", 1)
			spawn(t, root, "b", 2)
			s := undrained(t, root)
			s.read("a")
			s.read("b")
			swap(t, filepath.Join(root, "a"), filepath.Join(root, "b"))
			second := map[string]string{"a": "b", "b": "a"}[first]
			for _, name := range []string{first, second} {
				s.pending.event(fsnotify.Event{Name: filepath.Join(root, name), Op: fsnotify.Rename})
				s.settle(t)
				s.pending.event(fsnotify.Event{Name: filepath.Join(root, name), Op: fsnotify.Create})
				s.settle(t)
			}
			if !s.isWatched("a") || !s.isWatched("b") {
				t.Errorf("watches %q", s.watches.fsn.WatchList())
			}
		})
	}
}

// What was made in the root while it could not be watched is no event: the scan that
// follows the first watch must find it.
func TestRootIsWatchedLate(t *testing.T) {
	root := newRoot(t)
	s := undrained(t, root)
	s.watches.fsn.Remove(root)
	s.watches.root, s.watches.rootWatched = unix.ENOSPC, false
	s.scan(t.Context())
	spawn(t, root, "a", 1)
	s.pollRoot(t.Context())
	if _, ok := s.opts.Registry.Get("a"); !ok {
		t.Error("a is not found")
	}
	if s.watches.incomplete() {
		t.Error("still polling")
	}
}

// A root that goes while a session begins ends it by an event: that is no limit of the
// system, and nothing to warn of.
func TestRootGoesMeanwhile(t *testing.T) {
	root := newRoot(t)
	s := undrained(t, root)
	s.watches.rootWatched = false
	removeAll(t, root)
	s.watches.addRoot(root)
	s.scan(t.Context())
	if s.watches.incomplete() {
		t.Errorf("polling because of %v", s.watches.cause())
	}
	if s.scanned {
		t.Error("nothing is taken for a scan")
	}
}

// One directory under two names has one watch, filed under one of them. The two must
// not take it from each other for ever.
func TestBindMountInRoot(t *testing.T) {
	if !inChild(t, unix.CLONE_NEWUSER|unix.CLONE_NEWNS) {
		return
	}
	root := newRoot(t)
	spawn(t, root, "a", 1)
	mkdir(t, filepath.Join(root, "b"))
	if err := unix.Mount(filepath.Join(root, "a"), filepath.Join(root, "b"), "", unix.MS_BIND, ""); err != nil {
		t.Skipf("no bind mounts: %v", err)
	}
	defer unix.Unmount(filepath.Join(root, "b"), unix.MNT_DETACH)
	s := undrained(t, root)
	s.read("a")
	s.read("b")
	s.settle(t)
	if !s.isWatched("a") {
		t.Errorf("watches %q", s.watches.fsn.WatchList())
	}
	if got := s.polledNames(); !slices.Equal(got, []string{"b"}) {
		t.Errorf("polls %q, want b", got)
	}
	for range 3 {
		spawn(t, root, "a", 2)
		s.lookAtAll()
		s.settle(t)
		if e, _ := s.opts.Registry.Get("b"); e.PID.N != 2 {
			t.Errorf("b has pid %v", e.PID)
		}
	}
}

// A dir that is mounted over while a session begins to watch it is polled, and not watched as
// well; when that is over, it is watched again. At each check both are as they should be.
func TestBindMountWhileItIsWatched(t *testing.T) {
	if !inChild(t, unix.CLONE_NEWUSER|unix.CLONE_NEWNS) {
		return
	}
	root := newRoot(t)
	spawn(t, root, "a", 1)
	spawn(t, root, "b", 2)
	s := undrained(t, root)
	s.read("a")
	s.watch("b")
	if err := unix.Mount(filepath.Join(root, "a"), filepath.Join(root, "b"), "", unix.MS_BIND, ""); err != nil {
		t.Skipf("no bind mounts: %v", err)
	}
	check := func(when, watched string, polled ...string) {
		t.Helper()
		s.read("b")
		s.settle(t)
		if !s.isWatched("a") || s.isWatched("b") != (watched == "b") || !slices.Equal(s.polledNames(), polled) {
			t.Errorf("%s: watches %q, polls %q", when, s.watches.fsn.WatchList(), s.polledNames())
		}
		if names, rearm := s.watches.lost(root); len(names) > 0 || rearm {
			t.Errorf("%s: the watches of %q are missed, rearm %v", when, names, rearm)
		}
	}
	check("mounted", "a", "b")
	if err := unix.Unmount(filepath.Join(root, "b"), unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	check("unmounted", "b")
	if e, _ := s.opts.Registry.Get("b"); e.PID.N != 2 {
		t.Errorf("b has pid %v", e.PID)
	}
}

// While a sidecar is under somebody's lease it cannot be read. That is no reason to
// forget the daemon, or to call its sidecar invalid.
func TestSidecarUnderLease(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	w := start(t, setup{Root: root})
	w.waitPID("a", 1)
	w.waitEqual()
	for round := 2; round < 12; round++ {
		before, _ := w.registry.Get("a")
		held := lease(t, sidecarPath(root, "a"))
		daemondirtest.WriteFile(t, filepath.Join(root, "a", daemondir.PIDFileName), fmt.Sprint(round))
		daemondirtest.Eventually(t, "the lease to be in the watcher's rootPath", func() bool {
			kind, err := unix.FcntlInt(held.Fd(), unix.F_GETLEASE, 0)
			return err != nil || kind != unix.F_WRLCK
		})
		if after, ok := w.registry.Get("a"); !ok || after != before {
			t.Fatalf("under the lease the entry is %+v, want %+v", after, before)
		}
		spawn(t, root, "b", round) // others are read meanwhile
		w.waitPID("b", round)
		held.Close()
		w.waitPID("a", round)
		w.waitEqual()
	}
	w.checkWatched()
}

// swap exchanges two dirs in one step.
func swap(t *testing.T, a, b string) {
	t.Helper()
	if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
		t.Skipf("dirs cannot be swapped: %v", err)
	}
}

// lease opens a file and takes a write lease on it; closing the file ends that.
func lease(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	// It is refused while somebody has the file open, if only to read it.
	daemondirtest.Eventually(t, "a lease", func() bool {
		_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
		if err != nil && err != unix.EAGAIN {
			t.Skipf("no leases: %v", err)
		}
		return err == nil
	})
	return f
}

// polledNames returns the names of the polled daemon dirs.
func (s *session) polledNames() []string { return slices.Sorted(maps.Keys(s.watches.polled)) }

// lookAtAll reads everything that is polled, as if all of it were due.
func (s *session) lookAtAll() {
	for _, one := range s.polls.byName {
		one.due, one.looks = time.Time{}, quietLooks
	}
	s.look()
}

// What cannot be looked at is not gone: here a name that is too long, elsewhere one in a root that
// may not be searched. What is gone is not read.
func TestUnknownIsNotGone(t *testing.T) {
	root := newRoot(t)
	s := undrained(t, root)
	name := strings.Repeat("a", 256)
	s.reg.Put(daemondir.Entry{Name: name}, time.Time{})
	s.read(name)
	if _, known := s.opts.Registry.Get(name); !known {
		t.Error("the entry was deleted")
	}
	spawn(t, root, "b", 1)
	s.read("b")
	removeAll(t, root+"/b")
	s.pending.moved.add("b")
	reads := s.Totals().Reads
	s.read("b")
	if _, known := s.opts.Registry.Get("b"); known || s.Totals().Reads != reads {
		t.Errorf("a dir that is gone: entry %t, %d reads", known, s.Totals().Reads-reads)
	}
}

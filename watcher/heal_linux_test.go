package watcher

import (
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// A dir that could not be looked at for a moment, and could be read right after, is polled until
// it is watched.
func TestUnknownIsPolled(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	s := undrained(t, root)
	file := filepath.Join(root, "file")
	daemondirtest.WriteFile(t, file, "")
	if !s.watches.add(file, "a") { // ENOTDIR
		t.Error("what cannot be looked at is gone")
	}
	e, err := daemondir.Read(root, "a")
	s.take("a", e, err)
	if s.isWatched("a") || !s.mustPoll("a") {
		t.Errorf("watches %q, polls %q", s.watches.fsn.WatchList(), s.polledNames())
	}
	s.lookAtAll()
	if !s.isWatched("a") || s.watches.incomplete() || len(s.polls.byName) > 0 {
		t.Errorf("watches %q, polls %q", s.watches.fsn.WatchList(), s.polledNames())
	}
}

// A watch that fsnotify has lost is missed even if there are others that nobody knows of.
func TestLostWatchIsNotMadeUpFor(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	spawn(t, root, "b", 1)
	s := undrained(t, root)
	s.read("a")
	s.read("b")
	if names, rearm := s.watches.lost(root); len(names) > 0 || rearm {
		t.Errorf("nothing is lost, but %q, rearm %v", names, rearm)
	}
	for _, other := range []string{mkdir(t, filepath.Join(root, "other")), sidecarPath(root, "b")} {
		if err := s.watches.fsn.Add(other); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.watches.fsn.Remove(filepath.Join(root, "a")); err != nil {
		t.Fatal(err)
	}
	if names, rearm := s.watches.lost(root); !slices.Equal(names, []string{"a"}) || rearm {
		t.Errorf("lost are %q, rearm %v, want a", names, rearm)
	}
}

// A disk that recovers raises no event: what could not be read is polled until it can.
func TestReadErrorIsPolled(t *testing.T) {
	if !inChild(t, unix.CLONE_NEWUSER|unix.CLONE_NEWNS) {
		return
	}
	root := newRoot(t)
	spawn(t, root, "a", 1)
	daemondirtest.Mount(t, "/proc/self/mem", sidecarPath(root, "a")) // EIO at 0
	s := undrained(t, root)
	s.read("a")
	if e, _ := s.opts.Registry.Get("a"); e.Problem != daemondir.ProblemIO || !s.mustPoll("a") || len(s.polls.byName) != 1 {
		t.Errorf("read %+v, polls %q", e, s.polledNames())
	}
	if err := unix.Unmount(sidecarPath(root, "a"), unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	s.lookAtAll()
	if e, _ := s.opts.Registry.Get("a"); e.Problem != daemondir.ProblemNone || s.watches.incomplete() || len(s.polls.byName) > 0 {
		t.Errorf("read %+v, polls %q", e, s.polledNames())
	}
}

// Of dirs that are watched by their files, one is missed whichever of these watches are lost, and
// one that has them is left alone.
func TestLostFilesAreMissed(t *testing.T) {
	for _, row := range []struct{ lost, want []string }{
		{[]string{"a/a.daemon.json"}, []string{"a"}},
		{[]string{"a/daemon.pid"}, []string{"a"}},
		{[]string{"a/a.daemon.json", "a/daemon.pid"}, []string{"a"}},
		{[]string{"c"}, []string{"c"}},
	} {
		root := newRoot(t)
		s := undrained(t, root)
		for _, name := range []string{"a", "b", "c"} {
			spawn(t, root, name, 1)
			s.read(name)
		}
		s.makeQuiet(t, "a", "b")
		for _, path := range row.lost {
			if err := s.watches.fsn.Remove(filepath.Join(root, path)); err != nil {
				t.Fatal(err)
			}
		}
		if names, _ := s.watches.lost(root); !slices.Equal(names, row.want) {
			t.Errorf("%q: lost are %q, want %q", row.lost, names, row.want)
		}
	}
}

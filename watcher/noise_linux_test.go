package watcher

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// makeNoise writes a log into daemon dirs until each is watched by its files.
func (w *running) makeNoise(names ...string) {
	w.t.Helper()
	for _, name := range names {
		daemondirtest.Eventually(w.t, "a noisy dir is watched by its files", func() bool {
			w.writeLog(name)
			return w.byFiles(name)
		})
	}
}

func (w *running) writeLog(name string) {
	log, err := os.OpenFile(filepath.Join(w.root, name, "out.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		w.t.Fatal(err)
	}
	defer log.Close()
	fmt.Fprintln(log, "a line")
}

// byFiles reports whether the dir name is watched by its files, and only by them.
func (w *running) byFiles(name string) bool {
	list := w.watchList()
	return slices.Contains(list, sidecarPath(w.root, name)) &&
		slices.Contains(list, filepath.Join(w.root, name, daemondir.PIDFileName)) &&
		!slices.Contains(list, filepath.Join(w.root, name))
}

func (w *running) watchList() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.session.watches.fsn.WatchList()
}

// A log in a daemon's own dir is no event any more; all that matters still is one.
func TestNoisyDir(t *testing.T) {
	replace := func(t *testing.T, path, text string) {
		daemondirtest.WriteFile(t, path+".new", text)
		rename(t, path+".new", path)
	}
	for _, row := range []struct {
		name   string
		change func(t *testing.T, root string)
	}{
		{"a spawn", func(t *testing.T, root string) { spawn(t, root, "a", 2) }},
		{"a spawn that gets no pid", func(t *testing.T, root string) { daemondirtest.WriteFile(t, sidecarPath(root, "a"), sidecar(8)) }},
		{"the pid file is written", func(t *testing.T, root string) {
			daemondirtest.WriteFile(t, filepath.Join(root, "a", "daemon.pid"), "2")
		}},
		{"the pid file is emptied", func(t *testing.T, root string) { os.Truncate(filepath.Join(root, "a", "daemon.pid"), 0) }},
		{"the pid file is removed", func(t *testing.T, root string) { removeAll(t, filepath.Join(root, "a", "daemon.pid")) }},
		{"the sidecar is removed", func(t *testing.T, root string) { removeAll(t, sidecarPath(root, "a")) }},
		{"the pid file is replaced", func(t *testing.T, root string) { replace(t, filepath.Join(root, "a", "daemon.pid"), "2") }},
		{"the sidecar is replaced", func(t *testing.T, root string) { replace(t, sidecarPath(root, "a"), sidecar(8)) }},
		{"the sidecar is replaced, and the last one is still open", func(t *testing.T, root string) {
			held, err := os.Open(sidecarPath(root, "a"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { held.Close() })
			replace(t, sidecarPath(root, "a"), sidecar(8))
		}},
		{"the sidecar moves away", func(t *testing.T, root string) { rename(t, sidecarPath(root, "a"), filepath.Join(root, "a", "old")) }},
		{"the dir is removed", func(t *testing.T, root string) { removeAll(t, filepath.Join(root, "a")) }},
		{"the dir is removed, and made again", func(t *testing.T, root string) {
			removeAll(t, filepath.Join(root, "a"))
			spawn(t, root, "a", 2)
		}},
		{"the dir has another name", func(t *testing.T, root string) { rename(t, filepath.Join(root, "a"), filepath.Join(root, "c")) }},
		{"the dir moves out of the root", func(t *testing.T, root string) { rename(t, filepath.Join(root, "a"), root+".a") }},
		{"two dirs change places", func(t *testing.T, root string) {
			swap(t, filepath.Join(root, "a"), filepath.Join(root, "b"))
		}},
		{"a line is written", func(t *testing.T, root string) {}},
	} {
		t.Run(row.name, func(t *testing.T) {
			root := newRoot(t)
			spawn(t, root, "a", 1)
			spawn(t, root, "b", 1)
			w := start(t, setup{Root: root})
			w.waitPID("a", 1)
			w.waitPID("b", 1)
			w.makeNoise("a", "b")
			before := w.Totals().Events
			for range 100 {
				w.writeLog("a")
			}
			row.change(t, root)
			w.waitEqual()
			if after := w.Totals().Events; after-before > 50 {
				t.Errorf("a log of 100 lines raised %d events", after-before)
			}
			w.checkWatched()
			w.waitEqual()
			removeAll(t, filepath.Join(root, "a"))
			removeAll(t, filepath.Join(root, "b"))
			w.waitEqual()
			w.mu.Lock()
			left := w.session.watches.byFiles.all()
			w.mu.Unlock()
			if len(left) > 0 {
				t.Errorf("%q are kept", left)
			}
			if w.count("events.overflow")+w.count("watch.degraded") > 0 {
				t.Error("found by something else than an event")
			}
		})
	}
}

// A sidecar that can no longer be read, and can be again, is told of by the file itself.
func TestNoisyDirBecomesReadable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read any file")
	}
	root := newRoot(t)
	spawn(t, root, "a", 1)
	w := start(t, setup{Root: root})
	w.waitPID("a", 1)
	w.makeNoise("a")
	for _, mode := range []os.FileMode{0, 0o644} {
		if err := os.Chmod(sidecarPath(root, "a"), mode); err != nil {
			t.Fatal(err)
		}
		w.waitEqual()
	}
}

// makeQuiet has the dirs watched by their files, if they can be.
func (s *session) makeQuiet(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		for range noisyEvents {
			s.pending.event(fsnotify.Event{Name: filepath.Join(s.dir, name, "out.log"), Op: fsnotify.Write})
		}
	}
	s.settle(t)
}

// It can be noisy again.
func TestNoisyDirOnceMore(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	w := start(t, setup{Root: root})
	w.waitPID("a", 1)
	for pid := 2; pid < 4; pid++ {
		w.makeNoise("a")
		spawn(t, root, "a", pid)
		w.waitPID("a", pid)
	}
	w.checkWatched()
}

// Our own write of a sidecar does not end that, and is taken in as ever.
func TestNoisyDirIsRefreshed(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	s := undrained(t, root)
	s.read("a")
	s.makeQuiet(t, "a")
	f, err := os.OpenFile(sidecarPath(root, "a"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(" "), int64(len(sidecar(1)))); err != nil {
		t.Fatal(err)
	}
	noted, err := daemondir.Read(root, "a")
	if err != nil {
		t.Fatal(err)
	}
	noted.LastSeen = daemondir.At(777) // which nobody has written
	s.pending.expects = s.reg.Expects
	s.opts.Registry.Expect(noted)
	s.pending.event(fsnotify.Event{Name: sidecarPath(root, "a"), Op: fsnotify.Write})
	s.settle(t)
	if e, _ := s.opts.Registry.Get("a"); e != noted || !s.pending.byFiles.has("a") || s.isWatched("a") {
		t.Errorf("read for what we wrote: %+v, watches %q", e, s.watches.fsn.WatchList())
	}
}

// A dir whose files cannot tell of all that matters is watched as ever.
func TestNoisyDirStaysWatched(t *testing.T) {
	for _, row := range []struct {
		name   string
		before func(t *testing.T, root string) // before it is read
		after  func(t *testing.T, root string) // when it is noisy
	}{
		{name: "there is no pid file", before: func(t *testing.T, root string) { removeAll(t, filepath.Join(root, "a", "daemon.pid")) }},
		{name: "there is no sidecar", before: func(t *testing.T, root string) { removeAll(t, sidecarPath(root, "a")) }},
		{name: "it is protected, which may end", before: func(t *testing.T, root string) {
			if _, err := daemondir.Protect(root, "a"); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "its sidecar is a symlink", before: func(t *testing.T, root string) { beSymlink(t, sidecarPath(root, "a")) }},
		{name: "its pid file is a symlink", before: func(t *testing.T, root string) { beSymlink(t, filepath.Join(root, "a", "daemon.pid")) }},
		{name: "its sidecar has a second name in another noisy dir", before: func(t *testing.T, root string) {
			removeAll(t, sidecarPath(root, "a"))
			if err := os.Link(sidecarPath(root, "b"), sidecarPath(root, "a")); err != nil {
				t.Skipf("no hard links: %v", err)
			}
		}},
		{name: "it has changed since", after: func(t *testing.T, root string) { spawn(t, root, "a", 2) }},
		{name: "its pid file was replaced since", after: func(t *testing.T, root string) {
			path := filepath.Join(root, "a", "daemon.pid")
			daemondirtest.WriteFile(t, path+".new", "1")
			rename(t, path+".new", path)
		}},
		{name: "another dir has its name now", after: func(t *testing.T, root string) {
			rename(t, filepath.Join(root, "a"), root+".a")
			spawn(t, root, "a", 1)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			root := newRoot(t)
			spawn(t, root, "a", 1)
			spawn(t, root, "b", 1)
			if row.before != nil {
				row.before(t, root)
			}
			s := undrained(t, root)
			s.read("a")
			s.read("b")
			if row.after != nil {
				row.after(t, root)
			}
			s.makeQuiet(t, "b", "a")
			if !s.isWatched("a") || s.pending.byFiles.has("a") {
				t.Errorf("watches %q", s.watches.fsn.WatchList())
			}
			if s.isWatched("b") || len(s.watches.fsn.WatchList()) != 4 { // the root, a, and b's files
				t.Errorf("watches %q", s.watches.fsn.WatchList())
			}
		})
	}
}

// beSymlink replaces a file by a symlink to it elsewhere.
func beSymlink(t *testing.T, path string) {
	t.Helper()
	aside := filepath.Join(t.TempDir(), "aside")
	rename(t, path, aside)
	if err := os.Symlink(aside, path); err != nil {
		t.Fatal(err)
	}
}

// What a noisy dir raised before it was watched by its files, and comes in late, changes nothing.
func TestLateNoise(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	s := undrained(t, root)
	s.read("a")
	s.makeQuiet(t, "a")
	spawn(t, root, "a", 2)
	s.pending.noisy.Add("a", time.Time{})
	s.settle(t)
	if !s.pending.byFiles.has("a") || len(s.watches.fsn.WatchList()) != 3 { // the root and the files
		t.Errorf("watches %q", s.watches.fsn.WatchList())
	}
}

// Nothing is watched by its files where each change must be looked for.
func TestNoisyDirOfAPolledRoot(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	s := undrained(t, root)
	s.read("a")
	s.watches.eventless = "nfs"
	s.makeQuiet(t, "a")
	if !s.isWatched("a") {
		t.Errorf("watches %q", s.watches.fsn.WatchList())
	}
}

// A line now and then is no noise, nor is what spawns do to the trampoline.
func TestQuietDirStaysWatched(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	s := undrained(t, root)
	s.read("a")
	now := time.Now()
	s.pending.taken = func() time.Time { return now }
	for range 10 {
		for range noisyEvents - 1 {
			s.pending.event(fsnotify.Event{Name: filepath.Join(root, "a", "out.log"), Op: fsnotify.Write})
		}
		now = now.Add(noiseSpan)
	}
	for range noisyEvents {
		s.pending.event(fsnotify.Event{Name: filepath.Join(root, "a", "a"), Op: fsnotify.Create})
		s.pending.event(fsnotify.Event{Name: filepath.Join(root, "a", "b"), Op: fsnotify.Chmod})
	}
	s.quiet()
	if !s.isWatched("a") {
		t.Errorf("watches %q", s.watches.fsn.WatchList())
	}
}

// A watch of a file that fsnotify has lost is missed at the next check.
func TestLostWatchOfAFileIsMissed(t *testing.T) {
	for _, lost := range []string{"a.daemon.json", daemondir.PIDFileName} {
		t.Run(lost, func(t *testing.T) {
			root := newRoot(t)
			spawn(t, root, "a", 1)
			w := start(t, setup{Root: root, CheckInterval: 50 * time.Millisecond})
			w.waitPID("a", 1)
			w.makeNoise("a")
			w.mu.Lock()
			fsn := w.session.watches.fsn
			w.mu.Unlock()
			if err := fsn.Remove(filepath.Join(root, "a", lost)); err != nil {
				t.Fatal(err)
			}
			daemondirtest.Eventually(t, "the dir is watched", func() bool {
				return slices.Contains(w.watchList(), filepath.Join(root, "a"))
			})
			w.checkWatched()
		})
	}
}

package watcher

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"runtimegc/registry"
	"runtimegc/registry/daemondir/daemondirtest"
)

func TestRootIsRemoved(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	w := start(t, setup{Root: root})
	w.waitPID("a", 1)

	removeAll(t, root)
	w.waitFor("root.lost", 1)
	w.waitEqual()

	spawn(t, mkdir(t, root), "b", 2)
	w.waitPID("b", 2)
	w.waitEqual()
	w.checkWatched()
	if got, want := w.history(), "root.found root.lost root.found"; got != want {
		t.Errorf("logged %s, want %s", got, want)
	}
}

// The lock holds the dead root's inode: the new one cannot be taken for it, nor can
// its late events do any harm.
func TestRootIsRemovedAndMadeAgainAtOnce(t *testing.T) {
	root := newRoot(t)
	var lock testLock
	w := start(t, setup{Root: root, Lock: lock.lock})
	for round := 1; round <= 20; round++ {
		w.waitFor("root.found", round)
		w.checkWatched()
		removeAll(t, root)
		spawn(t, mkdir(t, root), fmt.Sprint("daemon", round), round)
		w.waitEqual()
		w.checkWatched()
		w.waitFor("root.lost", round)
	}
	w.stop()
	if lock.held.Load() != 0 {
		t.Error("the lock is still held")
	}
}

func TestRootIsRenamedAway(t *testing.T) {
	root := newRoot(t)
	away := root + "2" // the root's name is a prefix of it
	spawn(t, root, "a", 1)
	w := start(t, setup{Root: root})
	w.waitPID("a", 1)
	for range 10 {
		lost := w.count("root.lost")
		rename(t, root, away)
		w.waitFor("root.lost", lost+1)
		w.waitEqual()
		spawn(t, away, "b", 2) // unseen
		rename(t, away, root)
		w.waitPID("b", 2)
		w.waitEqual()
		w.checkWatched()
	}
}

// The watches of a root that was away for a moment are gone, though it is the same.
func TestRootIsRenamedAwayAndBackAtOnce(t *testing.T) {
	root := newRoot(t)
	away := root + ".away"
	spawn(t, root, "a", 1)
	w := start(t, setup{Root: root})
	w.waitPID("a", 1)
	for range 30 {
		rename(t, root, away)
		rename(t, away, root)
		w.waitEqual()
		w.checkWatched()
	}
}

func TestRootIsReplaced(t *testing.T) {
	root := newRoot(t)
	parent := filepath.Dir(root)
	spawn(t, root, "common", 1)
	spawn(t, root, "old", 1)
	w := start(t, setup{Root: root})
	w.waitPID("old", 1)
	for round := range 20 {
		next := filepath.Join(parent, fmt.Sprint("next", round))
		spawn(t, mkdir(t, next), "common", 2+round)
		spawn(t, next, fmt.Sprint("new", round), 2+round)
		rename(t, root, filepath.Join(parent, fmt.Sprint("last", round)))
		rename(t, next, root)
		w.waitPID("common", 2+round)
		w.waitEqual()
		w.checkWatched()
	}
	if w.count("root.lost") < 20 || w.count("root.found") < 21 {
		t.Errorf("logged %s", w.history())
	}
}

// The root and what holds it may appear at any time, in any order of ours and theirs.
func TestRootIsMissingAtStart(t *testing.T) {
	parents := filepath.Join("one", "two", "three", "runtime")
	appear := map[string]func(t *testing.T, w *running, top string){
		"at once": func(t *testing.T, w *running, top string) {
			mkdir(t, filepath.Join(top, parents))
		},
		"one by one": func(t *testing.T, w *running, top string) {
			path := top
			for name := range strings.SplitSeq(parents, string(filepath.Separator)) {
				w.waitFor("root.missing", 1)
				path = mkdir(t, filepath.Join(path, name))
			}
		},
		"made elsewhere and renamed in": func(t *testing.T, w *running, top string) {
			mkdir(t, filepath.Join(top, "zero", "two", "three", "runtime"))
			rename(t, filepath.Join(top, "zero"), filepath.Join(top, "one"))
		},
		"with a false start": func(t *testing.T, w *running, top string) {
			w.waitFor("root.missing", 1) // a parent that is a file at the start is an error
			mkdir(t, filepath.Join(top, "one", "two"))
			removeAll(t, filepath.Join(top, "one"))
			daemondirtest.WriteFile(t, filepath.Join(top, "one"), "a file")
			removeAll(t, filepath.Join(top, "one"))
			mkdir(t, filepath.Join(top, parents))
		},
	}
	for how, appear := range appear {
		t.Run(how, func(t *testing.T) {
			for range 10 {
				top := t.TempDir()
				w := start(t, setup{Root: filepath.Join(top, parents)})
				appear(t, w, top)
				spawn(t, w.root, "a", 1)
				w.waitPID("a", 1)
				w.waitEqual()
				w.checkWatched()
				w.stop()
			}
		})
	}
}

// A parent that is made between the look for the nearest one and its watch is no event:
// then the watch must have moved on to it.
func TestParentsAppearWhileTheyAreLookedFor(t *testing.T) {
	fsn, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer fsn.Close()
	go func() {
		for range fsn.Errors {
		}
	}()
	var current atomic.Pointer[pending]
	go func() {
		for ev := range fsn.Events {
			if h := current.Load(); h != nil {
				h.event(ev)
			}
		}
	}()
	top, rounds := t.TempDir(), 2000
	if runtime.GOOS == "windows" {
		rounds = 200 // for Wine, where each takes long
	}
	for round := range rounds {
		one := filepath.Join(top, fmt.Sprint("one", round))
		root := filepath.Join(one, "two", "runtime")
		h := newPending(registry.New("/data"), root, []string{root})
		current.Store(h)
		fsn.Remove(top)

		began, made := make(chan struct{}), make(chan error)
		go func() {
			close(began)
			work(time.Duration(round%50) * time.Microsecond)
			made <- os.MkdirAll(root, 0o755)
		}()
		<-began
		work(20 * time.Microsecond)
		newWatches(fsn, nil).addAbove(h.paths)
		found := inspectRoot(root).found()
		if err := <-made; err != nil {
			t.Fatal(err)
		}
		daemondirtest.Eventually(t, "the root", func() bool { return found || h.rearm.Load() })
		removeAll(t, one)
	}
}

// A directory that is gone while it is being watched, and back right after, is watched.
func TestParentFlickersWhileItIsWatched(t *testing.T) {
	fsn, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer fsn.Close()
	go func() {
		for range fsn.Events {
		}
	}()
	go func() {
		for range fsn.Errors {
		}
	}()
	parent := filepath.Join(t.TempDir(), "parent")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	defer func() {
		cancel()
		<-done
	}()
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			os.Mkdir(parent, 0o755)
			os.Remove(parent)
		}
	}()
	for range 20_000 {
		w := newWatches(fsn, nil)
		w.addAbove([]string{filepath.Join(parent, "runtime")})
		if w.above != nil {
			t.Fatal(w.above)
		}
	}
}

func TestRootMissingIsSaid(t *testing.T) {
	top := t.TempDir()
	w := start(t, setup{Root: filepath.Join(top, "one", "runtime")})
	w.waitFor("root.missing", 1)
	mkdir(t, w.root)
	w.waitFor("root.found", 1)
	if got, want := w.history(), "root.missing root.found"; got != want {
		t.Errorf("logged %s, want %s", got, want)
	}
}

func TestRootBecomesAFile(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	w := start(t, setup{Root: root})
	w.waitPID("a", 1)
	removeAll(t, root)
	daemondirtest.WriteFile(t, root, "")
	w.waitFor("root.lost", 1)
	daemondirtest.Eventually(t, "an empty registry", func() bool { return w.registry.Len() == 0 })
	removeAll(t, root)
	spawn(t, mkdir(t, root), "b", 2)
	w.waitPID("b", 2)
	w.waitEqual()
	w.checkWatched()
}

func TestRootsParentIsRemoved(t *testing.T) {
	for _, wait := range []bool{false, true} {
		t.Run(fmt.Sprintf("waiting %v", wait), func(t *testing.T) {
			parent := filepath.Join(t.TempDir(), "grandparent", "parent")
			root := mkdir(t, filepath.Join(parent, "runtime"))
			w := start(t, setup{Root: root})
			w.waitFor("root.found", 1)
			for round := range 15 {
				lost := w.count("root.lost")
				removeAll(t, filepath.Dir(parent))
				if wait {
					w.waitFor("root.lost", lost+1)
				}
				spawn(t, mkdir(t, root), "a", 1+round)
				w.waitPID("a", 1+round)
				w.waitEqual()
				w.checkWatched()
			}
		})
	}
}

func TestRootsParentIsRenamed(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "parent")
	root := mkdir(t, filepath.Join(parent, "runtime"))
	spawn(t, root, "a", 1)
	var check time.Duration // by default, only an event tells
	if runtime.GOOS == "windows" {
		check = 10 * time.Millisecond // ReadDirectoryChangesW does not report a rename of the directory itself
	}
	w := start(t, setup{Root: root, CheckInterval: check})
	w.waitPID("a", 1)
	for range 10 {
		rename(t, parent, parent+".away")
		rename(t, parent+".away", parent)
		w.waitEqual()
		w.checkWatched()
	}
	rename(t, parent, parent+".away")
	w.waitFor("root.lost", 1)
	w.waitEqual()
	rename(t, parent+".away", parent)
	daemondirtest.Eventually(t, "the root to be served again", func() bool { return w.registry.Len() == 1 })
	w.checkWatched()
}

// No event tells of this: only the check does.
func TestRootsGrandparentIsRenamed(t *testing.T) {
	grandparent := filepath.Join(t.TempDir(), "grandparent")
	root := mkdir(t, filepath.Join(grandparent, "parent", "runtime"))
	spawn(t, root, "a", 1)
	w := start(t, setup{Root: root, CheckInterval: 10 * time.Millisecond})
	w.waitPID("a", 1)
	rename(t, grandparent, grandparent+".away")
	w.waitFor("root.lost", 1)
	spawn(t, mkdir(t, root), "b", 2)
	w.waitPID("b", 2)
	w.waitEqual()
	w.checkWatched()
}

// What happens beside the root must not begin a session after the other, each with a
// scan; nor must our own opening and watching.
func TestRootIsScannedOnce(t *testing.T) {
	root := newRoot(t)
	parent := filepath.Dir(root)
	w := prepare(t, setup{Root: root})
	var sessions atomic.Int32
	w.eventless = func(string) string {
		sessions.Add(1)
		return ""
	}
	w.run()
	w.waitFor("root.found", 1)
	for i := range 300 {
		path := filepath.Join(parent, fmt.Sprint("runtime", i))
		daemondirtest.WriteFile(t, path, "")
		if i%2 == 0 {
			removeAll(t, path)
		}
		if err := os.Chmod(root, 0o700+os.FileMode(i%2)*0o055); err != nil {
			t.Fatal(err)
		}
	}
	spawn(t, root, "a", 1)
	w.waitPID("a", 1)
	if n := sessions.Load(); n != 1 {
		t.Errorf("%d sessions", n)
	}
	// The root's own four events are the only ones that may begin a session.
	rename(t, root, root+".away")
	rename(t, root+".away", root)
	for range 20 {
		w.checkWatched()
	}
	if n := sessions.Load(); n > 5 {
		t.Errorf("%d sessions", n)
	}
}

func TestRootIsASymlink(t *testing.T) {
	type files struct{ root, target, link2, other string }
	tests := []struct {
		rule string
		do   func(t *testing.T, w *running, f files)
	}{
		{"its target is replaced", func(t *testing.T, w *running, f files) {
			rename(t, f.target, f.target+".away")
			rename(t, f.other, f.target)
		}},
		{"its target is removed, and made later", func(t *testing.T, w *running, f files) {
			removeAll(t, f.target)
			w.waitFor("root.lost", 1)
			rename(t, f.other, f.target)
		}},
		{"what holds its target is removed, and made later", func(t *testing.T, w *running, f files) {
			removeAll(t, filepath.Dir(f.target))
			w.waitFor("root.lost", 1)
			mkdir(t, filepath.Dir(f.target))
			rename(t, f.other, f.target)
		}},
		{"it leads elsewhere now", func(t *testing.T, w *running, f files) {
			symlink(t, f.other, f.root+".new")
			rename(t, f.root+".new", f.root)
		}},
		{"it is removed, and made later", func(t *testing.T, w *running, f files) {
			removeAll(t, f.root)
			w.waitFor("root.lost", 1)
			symlink(t, f.other, f.root)
		}},
		{"the symlink that it leads to leads elsewhere now", func(t *testing.T, w *running, f files) {
			symlink(t, f.other, f.link2+".new")
			rename(t, f.link2+".new", f.link2)
		}},
		{"a directory takes its place", func(t *testing.T, w *running, f files) {
			removeAll(t, f.root)
			rename(t, f.other, f.root)
		}},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			top := t.TempDir()
			f := files{
				root:   filepath.Join(mkdir(t, filepath.Join(top, "home")), "runtime"),
				link2:  filepath.Join(mkdir(t, filepath.Join(top, "etc")), "runtime"),
				target: filepath.Join(mkdir(t, filepath.Join(top, "disk")), "runtime"),
				other:  filepath.Join(top, "other"),
			}
			spawn(t, mkdir(t, f.target), "a", 1)
			spawn(t, mkdir(t, f.other), "b", 2)
			symlink(t, f.link2, f.root)
			symlink(t, filepath.Join("..", "disk", "runtime"), f.link2)
			w := start(t, setup{Root: f.root})
			w.waitPID("a", 1)
			w.checkWatched()
			test.do(t, w, f)
			w.waitPID("b", 2)
			w.waitEqual()
			w.checkWatched()
		})
	}
}

// What a session watches and what it serves must be the same directory.
func TestSymlinkIsChangedWhileASessionBegins(t *testing.T) {
	top := t.TempDir()
	old, next := filepath.Join(top, "old"), filepath.Join(top, "new")
	spawn(t, mkdir(t, old), "a", 1)
	spawn(t, mkdir(t, next), "b", 2)
	root := filepath.Join(top, "runtime")
	symlink(t, old, root)
	w := prepare(t, setup{Root: root})
	s := w.newSession()
	defer s.end()
	symlink(t, next, root+".new")
	rename(t, root+".new", root)
	if err := s.serve(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.registry.Len() > 0 {
		t.Errorf("serves %q as the new root", w.registry.Names())
	}
}

// A symlink that leads nowhere yet is a root to wait for.
func TestRootIsADanglingSymlink(t *testing.T) {
	top := t.TempDir()
	target := filepath.Join(top, "disk", "data", "runtime")
	root := filepath.Join(mkdir(t, filepath.Join(top, "home")), "runtime")
	symlink(t, target, root)
	w := start(t, setup{Root: root})
	w.waitFor("root.missing", 1)
	spawn(t, mkdir(t, target), "a", 1)
	w.waitPID("a", 1)
	w.checkWatched()
}

// Directory and watch of the root and of what holds it are one and the same here.
func TestRootHoldsTheLinkToIt(t *testing.T) {
	top := mkdir(t, filepath.Join(t.TempDir(), "top"))
	root := filepath.Join(top, "runtime")
	symlink(t, ".", root)
	spawn(t, top, "a", 1)
	w := start(t, setup{Root: root})
	w.waitPID("a", 1)
	w.checkWatched()
	spawn(t, top, "b", 2)
	w.waitPID("b", 2)
	w.checkWatched()
	removeAll(t, root)
	w.waitFor("root.lost", 1)
}

// A dir on the way may be a symlink: what it leads to is watched under one name only.
func TestRootIsBelowASymlink(t *testing.T) {
	top := t.TempDir()
	real := mkdir(t, filepath.Join(top, "disk"))
	symlink(t, real, filepath.Join(top, "home"))
	root := filepath.Join(top, "home", "runtime")
	symlink(t, filepath.Join(real, "daemons"), filepath.Join(real, "runtime"))
	spawn(t, mkdir(t, filepath.Join(real, "daemons")), "a", 1)
	w := start(t, setup{Root: root})
	w.waitPID("a", 1)
	w.checkWatched()
	removeAll(t, filepath.Join(real, "daemons"))
	w.waitFor("root.lost", 1)
	spawn(t, mkdir(t, filepath.Join(real, "daemons")), "b", 2)
	w.waitPID("b", 2)
	w.checkWatched()
}

func symlink(t *testing.T, target, path string) {
	t.Helper()
	if err := daemondirtest.Symlink(target, path); err != nil {
		t.Skipf("no symlinks: %v", err)
	}
}

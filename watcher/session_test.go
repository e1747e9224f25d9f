package watcher

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// fsnotify reports that it cannot remove the watch of a dir that was renamed away and
// deleted while it holds the lock that Add waits for: whoever reads the errors must not
// be the one who adds, or both wait for ever. One such dir in two is enough.
func TestErrorsAreDrained(t *testing.T) {
	root := newRoot(t)
	away := mkdir(t, filepath.Join(t.TempDir(), "away"))
	w := start(t, setup{Root: root})
	for round := 1; round <= 100; round++ {
		spawn(t, root, "a", round)
		w.waitPID("a", round)
		rename(t, filepath.Join(root, "a"), filepath.Join(away, "a"))
		removeAll(t, filepath.Join(away, "a"))
	}
	spawn(t, root, "b", 1)
	w.waitPID("b", 1)
	w.waitEqual()
	w.checkWatched()
}

// What is written before the watch on its dir stands is no event: it must be there by
// the time the dir is read.
func TestSpawnsAreNotMissed(t *testing.T) {
	root := newRoot(t)
	w := start(t, setup{Root: root})
	w.waitFor("root.found", 1)
	var spawners sync.WaitGroup
	for spawner := range 2 {
		spawners.Go(func() {
			for i := range 400 {
				// The dir is read some 10 to 300 us after it was made.
				pause := time.Duration(i%100) * 3 * time.Microsecond
				if err := trySpawn(root, fmt.Sprintf("daemon-%d-%d", spawner, i), 1+i, pause); err != nil {
					t.Error(err)
				}
			}
		})
	}
	spawners.Wait()
	for spawner := range 2 {
		for i := range 400 {
			w.waitPID(fmt.Sprintf("daemon-%d-%d", spawner, i), 1+i)
		}
	}
	w.waitEqual()
	w.checkWatched()
}

// A watch goes with the directory, not with its name, and fsnotify files it under the
// name. After any change of names each dir must be watched under the one it has.
func TestDirsChangeNames(t *testing.T) {
	type dirs struct{ root, a, b, c, outside string }
	tests := []struct {
		rule string
		do   func(t *testing.T, d dirs)
	}{
		{"renamed and back", func(t *testing.T, d dirs) {
			rename(t, d.a, d.c)
			rename(t, d.c, d.a)
		}},
		{"renamed for good", func(t *testing.T, d dirs) {
			rename(t, d.a, d.c)
			spawn(t, d.root, "a", 3)
			removeAll(t, d.c)
		}},
		{"swapped by three renames", func(t *testing.T, d dirs) {
			rename(t, d.a, d.c)
			rename(t, d.b, d.a)
			rename(t, d.c, d.b)
		}},
		{"moved up in a row", func(t *testing.T, d dirs) {
			removeAll(t, d.b)
			rename(t, d.a, d.b)
			spawn(t, d.root, "a", 3)
		}},
		{"removed and made again", func(t *testing.T, d dirs) {
			removeAll(t, d.a)
			spawn(t, d.root, "a", 3)
		}},
		{"moved out of the root and in again", func(t *testing.T, d dirs) {
			rename(t, d.a, d.outside)
			rename(t, d.outside, d.a)
		}},
		{"moved out of the root and in again under the other's name", func(t *testing.T, d dirs) {
			rename(t, d.a, d.outside)
			rename(t, d.b, d.a)
			rename(t, d.outside, d.b)
		}},
		{"put into quarantine and back", func(t *testing.T, d dirs) {
			quarantine := filepath.Join(d.root, daemondir.QuarantinePrefix+"a")
			rename(t, d.a, quarantine)
			rename(t, quarantine, d.a)
		}},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			root := newRoot(t)
			d := dirs{
				root: root,
				a:    filepath.Join(root, "a"), b: filepath.Join(root, "b"), c: filepath.Join(root, "c"),
				outside: filepath.Join(t.TempDir(), "outside"),
			}
			spawn(t, root, "a", 1)
			spawn(t, root, "b", 2)
			w := start(t, setup{Root: root})
			for range 40 {
				w.waitEqual()
				w.checkWatched()
				test.do(t, d)
			}
			w.waitEqual()
			w.checkWatched()
		})
	}
}

// A sidecar is opened, emptied and written; nobody tells when it is complete.
func TestSidecarInTwoHalves(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	w := start(t, setup{Root: root})
	w.waitPID("a", 1)
	for round := range 20 {
		f, err := os.Create(sidecarPath(root, "a"))
		if err != nil {
			t.Fatal(err)
		}
		text := sidecar(1000 + round)
		for _, part := range []struct {
			text    string
			problem daemondir.Problem
		}{
			{"", daemondir.ProblemEmpty},
			{text[:len(text)/2], daemondir.ProblemNotJSON},
			{text[len(text)/2:], daemondir.ProblemNone},
		} {
			if _, err := f.WriteString(part.text); err != nil {
				t.Fatal(err)
			}
			daemondirtest.Eventually(t, fmt.Sprintf("problem %q", part.problem), func() bool {
				e, _ := w.registry.Get("a")
				return e.Problem == part.problem
			})
		}
		f.Close()
		if e, _ := w.registry.Get("a"); e.SpawnedAt != daemondir.At(uint64(1000+round)) {
			t.Fatalf("spawned at %v", e.SpawnedAt)
		}
	}
}

// Only somebody who may not read a dir notices that it has become readable.
func TestDirBecomesReadable(t *testing.T) {
	if os.Geteuid() <= 0 {
		t.Skip("the superuser may read anything; there is no such mode on Windows")
	}
	root := newRoot(t)
	spawn(t, root, "dir", 1)
	spawn(t, root, "file", 2)
	dir, file := filepath.Join(root, "dir"), sidecarPath(root, "file")
	chmod := func(dirMode, fileMode os.FileMode) {
		t.Helper()
		if err := os.Chmod(dir, dirMode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, fileMode); err != nil {
			t.Fatal(err)
		}
	}
	chmod(0, 0)
	t.Cleanup(func() { chmod(0o755, 0o644) })

	w := start(t, setup{Root: root})
	for _, name := range []string{"dir", "file"} {
		daemondirtest.Eventually(t, name+" to be unreadable", func() bool {
			e, ok := w.registry.Get(name)
			return ok && e.Problem == daemondir.ProblemPermission
		})
	}
	// A dir that may not be read may not be watched either.
	w.waitFor("watch.degraded", 1)
	if got := w.log.Events("watch.degraded")[0]["reason"]; got != "permission" {
		t.Errorf("reason %v, want permission", got)
	}
	chmod(0o755, 0o644)
	w.waitPID("dir", 1)
	w.waitEqual()
	w.waitFor("watch.restored", 1)
	w.checkWatched()
}

// The access time, mode or owner of a file is nothing that we look at; a backup that
// touches every file must not cost a read of every file.
func TestChmodCostsNoRead(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	spawn(t, root, "z", 1)
	w := start(t, setup{Root: root})
	w.waitPID("a", 1)
	w.waitPID("z", 1)
	w.waitEqual()
	w.changes.Take()
	// A read would find the new time and change the entry.
	old := time.Unix(1, 0)
	if err := os.Chtimes(sidecarPath(root, "a"), old, old); err != nil {
		t.Fatal(err)
	}
	spawn(t, root, "z", 2) // comes in after it
	w.waitPID("z", 2)
	if e, _ := w.registry.Get("a"); e.Sidecar.MTime == old.UnixNano() {
		t.Error("a was read again")
	}
}

// On a network share nothing is an event: everything is polled, and that is said once.
func TestEventlessFileSystem(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	w := prepare(t, setup{Root: root, PollInterval: 5 * time.Millisecond})
	w.eventless = func(path string) string {
		if path == "" {
			t.Errorf("asked for %q", path)
		}
		return "nfs"
	}
	w.run()
	w.waitFor("watch.degraded", 1)
	// A change of time raises no event that is heeded, so whoever sees it has polled.
	for i := range 10 {
		when := time.Unix(1000+int64(i), 0)
		if err := os.Chtimes(filepath.Join(root, "a", daemondir.PIDFileName), when, when); err != nil {
			t.Fatal(err)
		}
		daemondirtest.Eventually(t, "the new time", func() bool {
			e, _ := w.registry.Get("a")
			return e.PIDFile.MTime == when.UnixNano()
		})
	}
	w.stop()
	lines := w.log.Events("watch.degraded")
	if len(lines) != 1 || lines[0]["reason"] != "filesystem" || !strings.Contains(fmt.Sprint(lines[0]["error"]), "nfs") {
		t.Errorf("said %v", lines)
	}
}

// Lost events: the registry is made equal to the disk, and what differed is said.
func TestOverflow(t *testing.T) {
	root := newRoot(t)
	for _, name := range []string{"stays", "changes", "goes"} {
		spawn(t, root, name, 1)
	}
	w := start(t, setup{Root: root})
	w.waitFor("root.found", 1)
	w.waitEqual()
	<-w.Ready() // the end of the scan looks for watches that are gone

	// Nothing is an event while nothing is watched.
	w.mu.Lock()
	s := w.session
	for _, path := range s.watches.fsn.WatchList() {
		s.watches.fsn.Remove(path)
	}
	w.mu.Unlock()
	spawn(t, root, "changes", 2)
	spawn(t, root, "comes", 1)
	removeAll(t, filepath.Join(root, "goes"))

	w.overflow()
	w.waitFor("registry.resynced", 1)
	w.waitEqual()
	line := w.log.Events("registry.resynced")[0]
	for field, want := range map[string]float64{"daemons": 3, "added": 1, "changed": 1, "removed": 1} {
		if line[field] != want {
			t.Errorf("%s is %v, want %v", field, line[field], want)
		}
	}
	if said := w.log.Events("events.overflow"); len(said) != 1 || said[0]["error"] != nil {
		t.Errorf("said %v", said)
	}
	// And every watch that was gone is there again.
	w.checkWatched()
	removeAll(t, root)
	w.waitFor("root.lost", 1)
}

// While the root is missing its parent's events may be lost as well.
// Events may be lost for another reason; then it is said.
func TestOverflowSaysWhy(t *testing.T) {
	w := start(t, setup{Root: newRoot(t)})
	w.waitFor("root.found", 1)
	w.error(syscall.EIO)
	w.waitFor("registry.resynced", 1)
	if said := w.log.Events("events.overflow"); len(said) != 1 || said[0]["error"] != syscall.EIO.Error() {
		t.Errorf("said %v", said)
	}
}

func TestOverflowWithoutRoot(t *testing.T) {
	root := filepath.Join(t.TempDir(), "runtime")
	w := start(t, setup{Root: root})
	w.waitFor("root.missing", 1)
	w.overflow()
	w.waitFor("registry.resynced", 1)
	spawn(t, mkdir(t, root), "a", 1)
	w.waitPID("a", 1)
	w.checkWatched()
	if n := w.count("watch.degraded"); n > 0 {
		t.Error("a missing root is polled")
	}
}

// A leftover of a removal that was cut short is judged at the next start; what a
// removal of ours moves out of sight meanwhile is not.
func TestQuarantine(t *testing.T) {
	root := newRoot(t)
	left := daemondir.QuarantinePrefix + "left"
	spawn(t, root, left, 1)
	spawn(t, root, "a", 1)
	w := start(t, setup{Root: root})
	w.waitPID(left, 1)
	w.waitPID("a", 1)

	removing := daemondir.QuarantinePrefix + "a"
	rename(t, filepath.Join(root, "a"), filepath.Join(root, removing))
	daemondirtest.Eventually(t, "a to be gone", func() bool { _, ok := w.registry.Get("a"); return !ok })
	spawn(t, root, "b", 1)
	w.waitPID("b", 1)
	if _, ok := w.registry.Get(removing); ok {
		t.Error("the removal is taken for a leftover")
	}
	removeAll(t, filepath.Join(root, removing))
	removeAll(t, filepath.Join(root, left))
	daemondirtest.Eventually(t, "the leftover to be gone", func() bool { _, ok := w.registry.Get(left); return !ok })
	w.waitEqual()
}

// What is inside a leftover is nobody's any more; each of its files that is removed
// would be an event.
func TestQuarantineIsNotWatched(t *testing.T) {
	root := newRoot(t)
	left := daemondir.QuarantinePrefix + "left"
	spawn(t, root, left, 1)
	spawn(t, root, "a", 1)
	s := prepare(t, setup{Root: root}).newSession()
	defer s.end()
	s.scan(t.Context())
	watched := s.watches.fsn.WatchList()
	if slices.Contains(watched, filepath.Join(s.dir, left)) || !slices.Contains(watched, filepath.Join(s.dir, "a")) {
		t.Errorf("watches %q", watched)
	}
	if s.watches.incomplete() {
		t.Error("polls it instead")
	}
}

// The dirs of a removal have a name of their own each; none may be remembered.
func TestQuarantineLeavesNoTrace(t *testing.T) {
	root := newRoot(t)
	w := start(t, setup{Root: root})
	w.waitFor("root.found", 1)
	for i := range 50 {
		name := fmt.Sprint("daemon", i)
		spawn(t, root, name, 1)
		quarantine := filepath.Join(root, daemondir.QuarantinePrefix+name)
		rename(t, filepath.Join(root, name), quarantine)
		removeAll(t, quarantine)
	}
	spawn(t, root, "last", 1)
	w.waitPID("last", 1)
	daemondirtest.Eventually(t, "every name to be read", func() bool { return w.registry.Len() == 1 })
	w.stop()
	if n := len(w.session.pending.moved.all()); n > 0 {
		t.Errorf("%d names are kept", n)
	}
	if n := len(w.session.watches.byName); n != 1 {
		t.Errorf("%d dirs are kept, want 1", n)
	}
}

// Files of any kind in the root are no daemon dirs, whatever happens to them.
func TestFilesInRoot(t *testing.T) {
	root := newRoot(t)
	w := start(t, setup{Root: root})
	w.waitFor("root.found", 1)
	for i := range 20 {
		path := filepath.Join(root, "a")
		daemondirtest.WriteFile(t, path, "no dir")
		if i%2 == 0 {
			spawn(t, root, fmt.Sprint("daemon", i), 1+i)
			w.waitPID(fmt.Sprint("daemon", i), 1+i)
		}
		removeAll(t, path)
		spawn(t, root, "a", 1+i)
		w.waitPID("a", 1+i)
		removeAll(t, path)
	}
	w.waitEqual()
	w.checkWatched()
}

// Names that need care somewhere: in fsnotify, in paths, in logs.
func TestNames(t *testing.T) {
	names := []string{"a b", "-rf", "ü", "daemon.pid", strings.Repeat("n", 243)}
	if runtime.GOOS != "windows" {
		names = append(names, "...", "*", "a\nb", `a\b`, "\xff\xfe", "a:b")
	}
	root := newRoot(t)
	w := start(t, setup{Root: root})
	w.waitFor("root.found", 1)
	for i, name := range names {
		spawn(t, root, name, 1+i)
	}
	for i, name := range names {
		w.waitPID(name, 1+i)
	}
	w.waitEqual()
	w.checkWatched()
	for _, name := range names {
		removeAll(t, filepath.Join(root, name))
	}
	daemondirtest.Eventually(t, "an empty registry", func() bool { return w.registry.Len() == 0 })
}

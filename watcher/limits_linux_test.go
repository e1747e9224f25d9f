package watcher

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// soon is how often these tests poll.
const soon = 20 * time.Millisecond

// Out of watches, as every user may be whose editor and browser watch, too: what is
// not watched is polled, which is said once and with the remedy, and ends by itself.
func TestOutOfWatches(t *testing.T) {
	if !inChild(t, unix.CLONE_NEWUSER) {
		return
	}
	root := newRoot(t)
	for i := range 20 {
		spawn(t, root, fmt.Sprint("daemon", i), 1)
	}
	limit(t, "max_inotify_watches", 12) // the root, its parent and ten dirs
	w := start(t, setup{Root: root, PollInterval: soon})
	w.waitFor("watch.degraded", 1)
	line := w.log.Events("watch.degraded")[0]
	if line["reason"] != "max_user_watches" || !strings.Contains(fmt.Sprint(line["error"]), "fs.inotify.max_user_watches") {
		t.Errorf("said %v", line)
	}
	if line["polled"] != 10.0 {
		t.Errorf("polls %v dirs, want 10", line["polled"])
	}

	// All is noticed still: changes, births, deaths.
	for i := range 20 {
		spawn(t, root, fmt.Sprint("daemon", i), 2+i)
	}
	spawn(t, root, "born", 1)
	removeAll(t, filepath.Join(root, "daemon0"))
	removeAll(t, filepath.Join(root, "daemon19"))
	for i := 1; i < 19; i++ {
		w.waitPID(fmt.Sprint("daemon", i), 2+i)
	}
	w.waitPID("born", 1)
	w.waitEqual()
	if n := w.count("watch.degraded"); n != 1 {
		t.Errorf("said %d times", n)
	}

	limit(t, "max_inotify_watches", 1000)
	w.waitFor("watch.restored", 1)
	w.checkWatched()
}

// Dirs that go give their watches back, and need no polling themselves.
func TestOutOfWatchesUntilDirsAreRemoved(t *testing.T) {
	if !inChild(t, unix.CLONE_NEWUSER) {
		return
	}
	root := newRoot(t)
	for i := range 20 {
		spawn(t, root, fmt.Sprint("daemon", i), 1)
	}
	limit(t, "max_inotify_watches", 12)
	w := start(t, setup{Root: root, PollInterval: soon})
	w.waitFor("watch.degraded", 1)
	for i := range 10 {
		removeAll(t, filepath.Join(root, fmt.Sprint("daemon", i)))
	}
	w.waitFor("watch.restored", 1)
	w.waitEqual()
	w.checkWatched()
}

// A dir that has gone is not polled for, even if the limit stays.
func TestPolledDirIsRemoved(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	s := undrained(t, root)
	s.watches.full = true
	s.read("a")
	if !s.watches.incomplete() || s.watches.limit() != "max_user_watches" || len(s.polls.byName) != 1 {
		t.Errorf("polls %q because of %v", s.polledNames(), s.watches.cause())
	}
	removeAll(t, filepath.Join(root, "a"))
	s.read("a")
	if s.watches.incomplete() || len(s.polls.byName) > 0 {
		t.Errorf("polls %q, and %d are scheduled", s.polledNames(), len(s.polls.byName))
	}
}

// Not even the root can be watched, nor what holds it: all of that must be made up for
// when there are watches again.
func TestNoWatchesAtAll(t *testing.T) {
	if !inChild(t, unix.CLONE_NEWUSER) {
		return
	}
	root := newRoot(t)
	spawn(t, root, "a", 1)
	limit(t, "max_inotify_watches", 0)
	w := start(t, setup{Root: root, PollInterval: soon})
	w.waitFor("watch.degraded", 1)
	spawn(t, root, "a", 2)
	spawn(t, root, "b", 2)
	w.waitPID("a", 2)
	w.waitPID("b", 2)
	removeAll(t, root)
	w.waitFor("root.lost", 1)
	spawn(t, mkdir(t, root), "c", 3)
	w.waitPID("c", 3)
	w.waitEqual()

	limit(t, "max_inotify_watches", 1000)
	w.waitFor("watch.restored", 1)
	w.checkWatched()
	removeAll(t, root)
	w.waitFor("root.lost", 2)
	spawn(t, mkdir(t, root), "d", 4)
	w.waitPID("d", 4)
	w.checkWatched()
	if n := w.count("watch.degraded"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

// No inotify instance: the whole root is polled, or waited for, until there is one.
func TestOutOfInstances(t *testing.T) {
	if !inChild(t, unix.CLONE_NEWUSER) {
		return
	}
	root := filepath.Join(t.TempDir(), "runtime")
	limit(t, "max_inotify_instances", 0)
	var lock testLock
	w := start(t, setup{Root: root, PollInterval: soon, Lock: lock.lock})
	w.waitFor("watch.degraded", 1)
	line := w.log.Events("watch.degraded")[0]
	if line["reason"] != "max_user_instances" || !strings.Contains(fmt.Sprint(line["error"]), "fs.inotify.max_user_instances") {
		t.Errorf("said %v", line)
	}
	spawn(t, mkdir(t, root), "a", 1)
	w.waitPID("a", 1)
	spawn(t, root, "a", 2)
	w.waitPID("a", 2)
	removeAll(t, filepath.Join(root, "a"))
	spawn(t, root, "b", 1)
	w.waitEqual()
	w.waitPID("b", 1)
	if n := w.count("watch.degraded"); n != 1 {
		t.Errorf("said %d times", n)
	}

	limit(t, "max_inotify_instances", 10)
	w.waitFor("watch.restored", 1)
	w.checkWatched()
	if got, want := w.history(), "root.missing root.found"; got != want {
		t.Errorf("logged %s, want %s", got, want)
	}
	if n := lock.taken.Load(); n != 1 {
		t.Errorf("the root was locked %d times", n)
	}
}

// Out of descriptors nothing can be read. That says nothing about what is there: the
// root is not lost, its daemons are not gone.
func TestOutOfDescriptors(t *testing.T) {
	if !inChild(t, 0) {
		return
	}
	root := newRoot(t)
	for i := range 5 {
		spawn(t, root, fmt.Sprint("daemon", i), 1)
	}
	w := start(t, setup{Root: root, PollInterval: soon, CheckInterval: soon})
	w.waitFor("root.found", 1)
	w.waitEqual()

	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	// Another name of a file that is open is no new descriptor: what is written here is
	// an event, but cannot be read.
	pidFile, err := os.OpenFile(filepath.Join(root, "daemon0", daemondir.PIDFileName), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pidFile.Close()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	if _, err := pidFile.WriteString("77"); err != nil {
		t.Fatal(err)
	}
	w.waitFor("watch.degraded", 1)
	if got := w.log.Events("watch.degraded")[0]["reason"]; got != "open_files" {
		t.Errorf("reason %v, want open_files", got)
	}
	w.overflow() // a new session now gets no inotify instance, and cannot list the root
	w.waitFor("events.overflow", 1)
	checked := time.Now()
	daemondirtest.Eventually(t, "a few checks", func() bool { return time.Since(checked) > 5*soon })
	if w.registry.Len() != 5 || w.count("root.lost") > 0 {
		t.Errorf("%d daemons are known of 5; logged %s", w.registry.Len(), w.history())
	}

	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	w.waitFor("watch.restored", 1)
	w.waitFor("registry.resynced", 1)
	w.waitPID("daemon0", 77)
	w.waitEqual()
	w.checkWatched()
}

// A root that cannot be listed for a moment is polled until it can.
func TestOutOfDescriptorsToList(t *testing.T) {
	if !inChild(t, 0) {
		return
	}
	root := newRoot(t)
	spawn(t, root, "a", 1)
	s := undrained(t, root)
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	s.scan(t.Context())
	if !s.watches.rootPolled() || s.watches.limit() != "open_files" {
		t.Errorf("polled is %v for %s", s.watches.rootPolled(), s.watches.limit())
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	s.pollRoot(t.Context())
	if s.watches.incomplete() || s.opts.Registry.Len() != 1 {
		t.Errorf("polled is %v, %d daemons are known", s.watches.incomplete(), s.opts.Registry.Len())
	}
}

// The reason says which limit to raise.
func TestLimit(t *testing.T) {
	tests := []struct {
		rule, reason string
		set          func(*watches)
	}{
		{"no watch for the root", "max_user_watches", func(w *watches) { w.root = unix.ENOSPC }},
		{"no watch above the root", "max_user_watches", func(w *watches) { w.above = unix.ENOSPC }},
		{"no watch for a dir", "max_user_watches", func(w *watches) { w.polled["a"] = unix.ENOSPC }},
		{"no instance", "max_user_instances", func(w *watches) { w.noFSN = unix.EMFILE }},
		{"no descriptor in the system", "open_files", func(w *watches) { w.noFSN = unix.ENFILE }},
		{"no descriptor to list the root", "open_files", func(w *watches) { w.listed = unix.EMFILE }},
		{"no descriptor to read a dir", "open_files", func(w *watches) { w.polled["a"] = unix.EMFILE }},
		{"a dir of somebody else", "permission", func(w *watches) { w.polled["a"] = unix.EACCES }},
		{"a network share", "filesystem", func(w *watches) { w.eventless = "nfs" }},
		{"no memory", "error", func(w *watches) { w.root = unix.ENOMEM }},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			w := newWatches(nil, nil)
			test.set(w)
			if got := w.limit(); got != test.reason {
				t.Errorf("reason %s, want %s", got, test.reason)
			}
			if w.cause() == nil {
				t.Error("no cause is named")
			}
		})
	}
}

// Sessions come and go for months: none may leave a goroutine or a descriptor behind.
func TestSessionsLeaveNothing(t *testing.T) {
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	root := newRoot(t)
	spawn(t, root, "a", 1)
	var lock testLock
	w := start(t, setup{Root: root, Lock: lock.lock})
	w.waitPID("a", 1)
	w.checkWatched()
	before := descriptors()
	for n := 1; n <= 50; n++ {
		if n%2 == 0 {
			w.overflow()
			w.waitFor("registry.resynced", n/2)
		} else {
			rename(t, root, root+".away")
			w.waitFor("root.lost", n/2+1)
			rename(t, root+".away", root)
			w.waitFor("root.found", n/2+2)
		}
	}
	w.waitEqual()
	w.checkWatched()
	daemondirtest.Eventually(t, "no more descriptors than before", func() bool { return descriptors() <= before })
}

// A root that is waited for at the top of the file system: a watch there reports paths
// that begin with two slashes.
func TestRootBelowSlash(t *testing.T) {
	if !inChild(t, unix.CLONE_NEWUSER) {
		return
	}
	top := t.TempDir()
	was, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Chroot(top); err != nil {
		t.Skipf("no chroot: %v", err)
	}
	t.Cleanup(func() { // or top could not be removed
		if err := errors.Join(was.Chdir(), unix.Chroot(".")); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chdir("/"); err != nil {
		t.Fatal(err)
	}
	w := start(t, setup{Root: "/data/runtime"})
	w.waitFor("root.missing", 1)
	spawn(t, mkdir(t, "/data/runtime"), "a", 1)
	w.waitPID("a", 1)
	w.checkWatched()
	removeAll(t, "/data")
	w.waitFor("root.lost", 1)
}

func inChild(t *testing.T, namespaces uintptr) bool {
	t.Helper()
	return daemondirtest.InChild(t, namespaces)
}

// limit sets a limit of the user namespace that the test runs in.
func limit(t *testing.T, name string, n int) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/user/"+name, fmt.Append(nil, n), 0); err != nil {
		t.Skipf("no limit of our own: %v", err)
	}
}

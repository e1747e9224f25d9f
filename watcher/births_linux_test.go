package watcher

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// A daemon that begins in an old dir that is polled is found by its process, long before the
// next look at the dir.
func TestBirthsAreFoundByProcess(t *testing.T) {
	if !inChild(t, unix.CLONE_NEWUSER) {
		return
	}
	root := newRoot(t)
	const dirs = 20
	spawnOld(t, root, dirs)
	limit(t, "max_inotify_watches", 12)
	const interval = 100 * time.Millisecond
	w := prepare(t, setup{Root: root, PollInterval: interval})
	w.onSession = func(s *session) { s.polls.cost = time.Hour } // no look at an old dir will come
	w.run()
	w.waitFor("watch.degraded", 1)
	for i := range 5 {
		name := fmt.Sprint("daemon", dirs-1-i)
		_, process := daemondirtest.MakeLive(t, root, name)
		w.waitPID(name, process.Process.Pid)
	}
}

// spawnOld makes dirs, daemon0 and so on, whose files have not changed for a day.
func spawnOld(t *testing.T, root string, dirs int) {
	t.Helper()
	old := time.Now().Add(-24 * time.Hour)
	for i := range dirs {
		name := fmt.Sprint("daemon", i)
		spawn(t, root, name, 1)
		for _, file := range []string{sidecarPath(root, name), filepath.Join(root, name, daemondir.PIDFileName)} {
			if err := os.Chtimes(file, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Each process is looked at a few times, since it may execute the trampoline later, and each
// daemon is returned once.
func TestBirthsLook(t *testing.T) {
	proc, root := t.TempDir(), "/data/runtime"
	t.Setenv("HOST_PROC", proc)
	exe := func(pid, program string) {
		dir := mkdir(t, filepath.Join(proc, pid))
		os.Remove(filepath.Join(dir, "exe"))
		if err := os.Symlink(program, filepath.Join(dir, "exe")); err != nil {
			t.Fatal(err)
		}
	}
	mkdir(t, filepath.Join(proc, "self"))
	mkdir(t, filepath.Join(proc, "1")) // of another user
	var b births
	look := func(want string) {
		t.Helper()
		if got := fmt.Sprint(b.look(root)); got != want {
			t.Errorf("found %s, want %s", got, want)
		}
	}
	exe("2", root+"/a/a")
	exe("3", "/usr/bin/python3")
	exe("4", root+"/b")
	exe("5", "/data/runtime2/c/c")
	look("map[a:2]")
	look("map[]")
	exe("3", root+"/d/d (deleted)")
	look("map[d:3]")
	look("map[]")
	exe("5", root+"/c/c") // too late
	look("map[]")
	removeAll(t, filepath.Join(proc, "2"))
	look("map[]")
	exe("2", root+"/a/a") // another process with that pid
	look("map[a:2]")

	// Of very many, all are looked at in the end.
	for i := range birthBatch {
		exe(strconv.Itoa(1000+i), root+"/old/old")
	}
	exe("10", root+"/z/z")
	found := make(map[string]int)
	for range 2 * birthLooks {
		maps.Copy(found, b.look(root))
	}
	if found["z"] != 10 || found["old"] == 0 {
		t.Errorf("found %v", found)
	}
}

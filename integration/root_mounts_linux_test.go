package integration

// A root whose file system comes and goes, and one whose rights do.

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// unmount is umount(2). A watch holds a lock on its root, and with it an open
// directory: a root in service can only be detached.
func unmount(t *testing.T, target string, locked bool) {
	t.Helper()
	var err error
	daemondirtest.Eventually(t, "nothing is being read that is to be unmounted", func() bool {
		err = unix.Unmount(target, 0)
		return locked || err != unix.EBUSY
	})
	if err == unix.EBUSY {
		err = unix.Unmount(target, unix.MNT_DETACH)
	}
	if err != nil {
		t.Fatalf("unmounting: %v", err)
	}
}

// Nothing tells that a file system was mounted over the root, or unmounted from it,
// but the look that comes with every sweep: the registry must follow what stands at
// the path, whichever it is, and go on living there.
func TestRootIsMountedAndUnmounted(t *testing.T) {
	t.Parallel()
	if !inOwnMounts(t) {
		return
	}
	for _, locked := range []bool{true, false} {
		name, args := "watch", []string{"--sweep-interval", "200ms"}
		if !locked {
			// Without a lock a plain umount works, and is an event as well.
			name, args = "dry run", append(args, "--dry-run")
		}
		t.Run(name, func(t *testing.T) {
			root := runtimeRoot(t)
			s := newSpawner(t, root)
			put := func(name string) {
				t.Helper()
				s.leave(name, daemondirtest.Sidecar(time.Now(), time.Now()), strconv.Itoa(bystander(t, "/")))
			}
			put("below")
			w := startWatch(t, root, args...)
			w.next("root.found", "")
			w.next("daemon.live", "below")
			for _, name := range []string{"first", "second"} {
				mount(t, "tmpfs", root, "tmpfs", 0, "size=1m")
				w.next("root.lost", "")
				w.next("daemon.gone", "below")
				w.next("root.found", "")
				put(name)
				w.next("daemon.live", name)
				unmount(t, root, locked)
				at := time.Now()
				lost := w.next("root.lost", "")
				w.next("daemon.gone", name)
				w.next("root.found", "")
				w.next("daemon.live", "below")
				t.Logf("unmount to root.lost: %v, at a look every 200ms", lost.time.Sub(at).Round(time.Millisecond))
			}
			put("after")
			w.next("daemon.live", "after")
			if last := w.stop(syscall.SIGTERM); last.number("daemons") != 2 {
				t.Errorf("want 2 daemons: %s", last.line)
			}
			w.never("daemon.removed", "")
		})
	}
}

// The disk that holds the root may go with all above it, and come back as it was. The
// root is then missing for a while, and its daemons are the same ones again.
func TestDiskOfTheRootIsUnmounted(t *testing.T) {
	t.Parallel()
	if !inOwnMounts(t) {
		return
	}
	disk, at := t.TempDir(), t.TempDir()
	noError(t, os.MkdirAll(filepath.Join(disk, "deep", "runtime"), 0o755))
	mount(t, disk, at, "", unix.MS_BIND, "")
	root := filepath.Join(at, "deep", "runtime")
	s := newSpawner(t, root)
	pid := strconv.Itoa(bystander(t, "/"))
	text := daemondirtest.Sidecar(time.Now(), time.Now())
	s.leave("live", text, pid)
	s.leave("dead", text, noProcess)
	w := startWatch(t, root, "--sweep-interval", "200ms")
	for round := range 3 {
		w.next("root.found", "")
		w.next("daemon.added", "dead")
		w.next("daemon.live", "live")
		// What is made there now is noticed by itself.
		name := "d" + strconv.Itoa(round)
		s.leave(name, text, noProcess)
		w.next("daemon.added", name)
		unmount(t, at, true)
		w.next("root.lost", "")
		for _, name := range []string{"live", "dead", name} {
			w.next("daemon.gone", name)
		}
		w.sweeps(1)
		if n := len(w.all("root.found", "")); n != round+1 {
			t.Errorf("root.found was said %d times, but it is missing after %d", n, round+1)
		}
		mount(t, disk, at, "", unix.MS_BIND, "")
	}
	w.next("root.found", "")
	// Said once in each round since it was made, the first of d0 to d2 were awaited above.
	for name, times := range map[string]int{"dead": 1, "d0": 3, "d1": 2, "d2": 1} {
		for range times {
			w.next("daemon.added", name)
		}
	}
	w.next("daemon.live", "live")
	if last := w.stop(syscall.SIGTERM); last.number("daemons") != 5 {
		t.Errorf("want 5 daemons: %s", last.line)
	}
	w.never("daemon.removed", "")
	loggedTimes(t, w, 3, "root.lost", "")
}

// A root, or a directory above it, that may no longer be entered is lost, with the
// reason; when the right is given back it is found again, with all that is in it and
// what was made there meanwhile. Nothing is removed on the strength of a blind look.
func TestRightToTheRootIsTakenAndGiven(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		up       int // levels above the root
		mode     os.FileMode
		interval string
	}{
		{"no right at all", 0, 0, "1h"}, // told by an event
		{"not to be listed", 0, 0o300, "1h"},
		{"not to be searched", 0, 0o600, "1h"},
		{"no right to what holds it", 1, 0, "200ms"},
		{"no right two levels above", 2, 0, "200ms"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			top := filepath.Join(t.TempDir(), "top")
			root := filepath.Join(top, "between", "runtime")
			noError(t, os.MkdirAll(root, 0o755))
			closed := root
			for range test.up {
				closed = filepath.Dir(closed)
			}
			s := newSpawner(t, root)
			text := daemondirtest.Sidecar(time.Now(), time.Now())
			s.leave("live", text, strconv.Itoa(bystander(t, "/")))
			s.leave("dead", text, noProcess)
			attr := ordinaryUser(t, top)
			t.Cleanup(func() {
				for _, dir := range []string{top, filepath.Dir(root), root} {
					os.Chmod(dir, 0o755)
				}
			})
			w := startWatchAs(t, attr, root, "--sweep-interval", test.interval)
			for range 2 {
				w.next("root.found", "")
				w.next("daemon.live", "live")
				w.next("daemon.added", "dead")
				noError(t, os.Chmod(closed, test.mode))
				e := w.next("root.lost", "")
				if said, _ := e.fields["error"].(string); !strings.Contains(said, "permission denied") {
					t.Errorf("want the error: %s", e.line)
				}
				w.next("daemon.gone", "live")
				w.next("daemon.gone", "dead")
				noError(t, os.Chmod(closed, 0o755))
			}
			w.next("root.found", "")
			w.next("daemon.live", "live")
			w.next("daemon.added", "dead")
			s.leave("new", text, noProcess)
			w.next("daemon.added", "new")
			if last := w.stop(syscall.SIGTERM); last.number("daemons") != 3 {
				t.Errorf("want 3 daemons: %s", last.line)
			}
			w.never("daemon.removed", "")
		})
	}
}

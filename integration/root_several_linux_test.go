package integration

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// Several roots are served like one each, and the log says which is meant.
func TestSeveralRoots(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b, later := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "later")
	for _, root := range []string{a, b} {
		noError(t, os.Mkdir(root, 0o755))
	}
	roots := map[string]string{"x": a, "y": b, "z": later}
	w := startWatch(t, a, "--root", b, "--root", later, "--stale-after", "1s", "--sweep-interval", "100ms")
	rootOf := func(e event) string { s, _ := e.fields["root"].(string); return s }
	for name, root := range roots {
		noError(t, os.MkdirAll(root, 0o755))
		d := newSpawner(t, root).spawn(name)
		for _, kind := range []string{"daemon.added", "daemon.live"} {
			if e := w.next(kind, name); rootOf(e) != root {
				t.Errorf("want root %s: %s", root, e.line)
			}
		}
		if name == "y" {
			continue
		}
		d.kill()
		if e := w.next("daemon.removed", name); rootOf(e) != root {
			t.Errorf("want root %s: %s", root, e.line)
		}
	}
	// Each has its lock.
	for _, root := range roots {
		if o := run(t, "watch", "--root", root); o.code != 1 || !strings.Contains(o.stderr, root) {
			t.Errorf("a watch beside the watch: exit code %d; %s", o.code, o.stderr)
		}
	}
	w.stop(syscall.SIGTERM)
	for _, e := range w.all("", "") {
		if rootOf(e) == "" {
			t.Errorf("it does not say which root: %s", e.line)
		}
	}
	for _, kind := range []string{"watch.started", "watch.stopped"} {
		if n := len(w.all(kind, "")); n != 3 {
			t.Errorf("%s for %d roots, want 3", kind, n)
		}
	}
}

// A root that somebody else has ends a watch of several, with its name; the others end
// in order. And prune touches none if it cannot have all.
func TestOneOfSeveralRootsIsLocked(t *testing.T) {
	t.Parallel()
	a, b := runtimeRoot(t), runtimeRoot(t)
	lockRoot(t, b)
	due := newSpawner(t, a).dead("due", stale)
	if o := run(t, "prune", "--root", a, "--root", b); o.code != 1 || !strings.Contains(o.stderr, b) {
		t.Errorf("prune: exit code %d; %s", o.code, o.stderr)
	}
	if _, err := os.Stat(due.dir); err != nil {
		t.Errorf("prune: %v", err)
	}
	o := run(t, "watch", "--root", a, "--root", b, "--log-format", "json", "--dry-run=false")
	last := strings.TrimSpace(o.stderr)
	last = last[strings.LastIndex(last, "\n")+1:]
	if o.code != 1 || !strings.HasPrefix(last, "runtimegc: ") || !strings.Contains(last, b) || strings.Contains(last, a) {
		t.Errorf("watch: exit code %d, want 1 and a last line that names %s: %s", o.code, b, o.stderr)
	}
	if n := strings.Count(o.stderr, `"watch.stopped"`); n != 2 {
		t.Errorf("%d roots were stopped in order, want 2: %s", n, o.stderr)
	}
}

// Two roots change places, again and again: each of the two has the other's lock for a moment,
// and neither ends the watch.
func TestRootsChangePlaces(t *testing.T) {
	t.Parallel()
	dir := filepath.Dir(runtimeRoot(t))
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	noError(t, errors.Join(os.Mkdir(a, 0o755), os.Mkdir(b, 0o755)))
	newSpawner(t, a).spawn("one")
	newSpawner(t, b).spawn("two")
	w := startWatch(t, a, "--root", b)
	w.next("root.found", "")
	w.next("root.found", "")
	w.next("daemon.live", "one")
	w.next("daemon.live", "two")
	for range 5 {
		noError(t, unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE))
		w.next("root.found", "")
		w.next("root.found", "")
	}
	// Five times is once.
	alive := func(root, name string) bool {
		for _, e := range w.all("daemon.live", name) {
			if strings.Contains(e.line, `"root":"`+root+`"`) {
				return true
			}
		}
		return false
	}
	daemondirtest.Eventually(t, "each daemon to be seen in the other root", func() bool { return alive(b, "one") && alive(a, "two") })
	newSpawner(t, a).spawn("three")
	newSpawner(t, b).spawn("four")
	w.next("daemon.live", "three")
	w.next("daemon.live", "four")
	w.stop(syscall.SIGTERM)
}

// A single pass has the lock when a root comes back, and for longer than a moment: the watch
// says so, and serves the root when it can. The other root is served all the while.
func TestRootComesBackLocked(t *testing.T) {
	t.Parallel()
	a, b := runtimeRoot(t), runtimeRoot(t)
	w := startWatch(t, a, "--root", b)
	w.next("root.found", "")
	w.next("root.found", "")
	noError(t, os.Rename(a, a+".away"))
	w.next("root.lost", "")
	pass, err := os.Open(a + ".away")
	noError(t, err)
	defer pass.Close()
	noError(t, unix.Flock(int(pass.Fd()), unix.LOCK_EX))
	newSpawner(t, a+".away").spawn("one")
	noError(t, os.Rename(a+".away", a))
	if e := w.next("root.locked", ""); !strings.Contains(e.line, a) {
		t.Errorf("which root? %s", e.line)
	}
	newSpawner(t, b).spawn("two")
	w.next("daemon.live", "two")
	w.never("daemon.live", "one")
	noError(t, pass.Close())
	w.next("root.found", "")
	w.next("daemon.live", "one")
	w.stop(syscall.SIGTERM)
}

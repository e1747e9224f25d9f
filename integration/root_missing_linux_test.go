package integration

// Roots that are not there yet, or no longer.

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A watch may be started before anything was ever spawned, and must then pick the root
// up however it comes: bare, or with a daemon in it already.
func TestRootMadeLater(t *testing.T) {
	t.Parallel()
	for name, daemonFirst := range map[string]bool{"bare": false, "with a daemon": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			root := filepath.Join(dir, "a", "b", "runtime")
			s := newSpawner(t, root)
			w := startWatch(t, root)
			w.next("root.missing", "")
			noError(t, os.MkdirAll(root, 0o755))
			if !daemonFirst {
				w.next("root.found", "")
			}
			d := s.spawn("d")
			if live := w.next("daemon.live", "d"); live.number("pid") != int64(d.pid) {
				t.Errorf("want pid %d: %s", d.pid, live.line)
			}
			w.stop(syscall.SIGTERM)
			if n := len(w.all("root.found", "")); n != 1 {
				t.Errorf("root.found was said %d times", n)
			}
		})
	}
}

// A root that is removed takes its daemons with it, and one that is made again is a
// new start.
func TestRootRemovedAndMadeAgain(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	w := startWatch(t, root)
	s.spawn("d")
	w.next("daemon.live", "d")
	for range 3 {
		noError(t, os.RemoveAll(root))
		w.next("daemon.gone", "d")
		w.next("root.lost", "")
		noError(t, os.Mkdir(root, 0o755))
		w.next("root.found", "")
		d := s.spawn("d")
		if live := w.next("daemon.live", "d"); live.number("pid") != int64(d.pid) || live.has("previous_pid") {
			t.Errorf("want pid %d and no previous_pid: %s", d.pid, live.line)
		}
	}
	w.stop(syscall.SIGTERM)
	w.never("daemon.removed", "")
}

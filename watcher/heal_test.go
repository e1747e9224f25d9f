package watcher

import (
	"path/filepath"
	"testing"
	"time"
)

// A watch that fsnotify has lost is missed at the next check, whose ever it is.
func TestLostWatchIsMissed(t *testing.T) {
	for name, lose := range map[string]func(root string) string{
		"of a daemon dir":   func(root string) string { return filepath.Join(root, "a") },
		"of the root":       func(root string) string { return root },
		"of the root's dir": filepath.Dir,
	} {
		t.Run(name, func(t *testing.T) {
			root := newRoot(t)
			spawn(t, root, "a", 1)
			spawn(t, root, "b", 1)
			w := start(t, setup{Root: root, CheckInterval: 50 * time.Millisecond})
			w.waitPID("a", 1)
			w.waitPID("b", 1)
			w.mu.Lock()
			first := w.session
			w.mu.Unlock()
			time.Sleep(150 * time.Millisecond) // a check must have seen the watch
			if err := first.watches.fsn.Remove(lose(root)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(150 * time.Millisecond)
			spawn(t, root, "a", 2) // no scan follows: it is an event, or nothing
			spawn(t, root, "c", 1)
			w.waitPID("a", 2)
			w.waitPID("c", 1)
			w.checkWatched()
			if w.count("events.overflow")+w.count("watch.degraded") > 0 {
				t.Error("healed by something else")
			}
			rename(t, root, root+".away")
			w.waitFor("root.lost", 1)
			rename(t, root+".away", root)
			w.waitFor("root.found", 2)
			w.checkWatched()
		})
	}
}

package watcher

import (
	"testing"

	"golang.org/x/sys/unix"
)

// coverable is a root over which something can be mounted, which is done by cover and undone
// by uncover.
func coverable(t *testing.T) (root string, cover, uncover func()) {
	t.Helper()
	root, empty := newRoot(t), newRoot(t)
	cover = func() {
		if err := unix.Mount(empty, root, "", unix.MS_BIND, ""); err != nil {
			t.Errorf("covering the root: %v", err)
		}
	}
	uncover = func() {
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			t.Errorf("uncovering the root: %v", err)
		}
	}
	cover()
	if t.Failed() {
		t.SkipNow()
	}
	uncover()
	return root, cover, uncover
}

// A mount over the root that comes before it is scanned, and has gone before anybody looks
// again, raises no event. What was listed then is not taken for the root's.
func TestRootIsCoveredDuringScan(t *testing.T) {
	if !inChild(t, unix.CLONE_NEWUSER|unix.CLONE_NEWNS) {
		return
	}
	root, cover, uncover := coverable(t)
	spawn(t, root, "a", 1)
	w := prepare(t, setup{Root: root})
	sessions := 0
	w.onSession = func(s *session) {
		if sessions++; sessions == 2 {
			uncover()
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.session = s
	}
	w.eventless = func(string) string { // asked after the root was found, and before it is read
		if sessions == 1 {
			cover()
		}
		return ""
	}
	w.run()
	w.waitPID("a", 1)
	w.waitEqual()
	spawn(t, root, "b", 1)
	w.waitPID("b", 1)
	w.checkWatched()
	if n := w.count("root.lost"); n > 0 {
		t.Errorf("root.lost is logged %d times", n)
	}
}

// While the root is covered, nothing is believed to be gone, and a new session must begin.
func TestNothingIsGoneFromACoveredRoot(t *testing.T) {
	if !inChild(t, unix.CLONE_NEWUSER|unix.CLONE_NEWNS) {
		return
	}
	root, cover, uncover := coverable(t)
	spawn(t, root, "a", 1)
	spawn(t, root, "b", 2)
	s := undrained(t, root)
	s.read("a")
	cover()
	s.read("a")
	s.read("b") // as in a scan that has listed both
	s.readMissed(nil)
	if !s.pending.rearm.Load() {
		t.Error("no new session")
	}
	uncover()
	if _, known := s.opts.Registry.Get("a"); !known {
		t.Error("a daemon of a covered root was deleted")
	}
	s.pending.rearm.Store(false) // so that its loop goes on
	s.readMissed([]string{"a", "b"})
	s.settle(t)
	if e, _ := s.opts.Registry.Get("b"); e.PID.N != 2 || !s.isWatched("b") {
		t.Errorf("what could not be read is not read again: %+v", e)
	}
}

package watcher

import (
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// An overflow and what it led to are counted as they are said, events and reads as they
// come; nothing of it starts anew with a session.
func TestTotals(t *testing.T) {
	root := newRoot(t)
	w := start(t, setup{Root: root})
	<-w.Ready() // until then the scan may find it
	spawn(t, root, "a", 1)
	w.waitPID("a", 1)
	before := w.Totals()
	if before.Events < 1 || before.Reads < 1 || before.Overflows != 0 || before.Resyncs != 0 {
		t.Errorf("after a birth, totals are %+v", before)
	}
	w.overflow()
	w.waitFor("registry.resynced", 1)
	after := w.Totals()
	if after.Overflows != 1 || after.Resyncs != 1 || after.Events < before.Events || after.Reads <= before.Reads {
		t.Errorf("totals were %+v, and after an overflow %+v", before, after)
	}
	if after.Degraded || after.Polled != 0 {
		t.Errorf("everything is watched, but totals are %+v", after)
	}
}

// What is polled is counted for as long as it is.
func TestTotalsWhileDegraded(t *testing.T) {
	if !inChild(t, unix.CLONE_NEWUSER) {
		return
	}
	root := newRoot(t)
	for _, name := range []string{"a", "b", "c"} {
		spawn(t, root, name, 1)
	}
	limit(t, "max_inotify_watches", 3) // what holds the root, the root, one of three
	w := start(t, setup{Root: root, PollInterval: soon})
	w.waitFor("watch.degraded", 1)
	daemondirtest.Eventually(t, "the polled to be counted", func() bool {
		total := w.Totals()
		return total.Degraded && total.Polled == 2
	})
	limit(t, "max_inotify_watches", 1000)
	w.waitFor("watch.restored", 1)
	daemondirtest.Eventually(t, "nothing to be polled", func() bool {
		total := w.Totals()
		return !total.Degraded && total.Polled == 0
	})
}

// A change that an event led to has the time of that event; what a scan finds has none.
func TestChangesAreTimed(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "found", 1)
	w := start(t, setup{Root: root})
	w.waitPID("found", 1)
	for _, change := range w.changes.Take() {
		if !change.Since.IsZero() {
			t.Errorf("%s, which a scan has found, has the time %v", change.Name, change.Since)
		}
	}
	began := time.Now()
	spawn(t, root, "born", 1)
	w.waitPID("born", 1)
	changes := w.changes.Take()
	for _, change := range changes {
		if change.Since.Before(began) || change.Since.After(time.Now()) {
			t.Errorf("%s has the time %v", change.Name, change.Since)
		}
	}
	if len(changes) == 0 {
		t.Error("no change")
	}
}

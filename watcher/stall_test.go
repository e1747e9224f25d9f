package watcher

import (
	"context"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// A file system that does not answer, here when the lock is taken, is said; whoever waits for
// the watcher to be ready, or for its answer, need not wait for that. And it is said when it
// answers.
func TestStall(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	release := make(chan struct{})
	w := prepare(t, setup{Root: root, Lock: func(string) (string, func(), error) {
		<-release
		return "holder", func() {}, nil
	}})
	w.stall.limit = time.Second // no step but the held one may take as long
	w.run()
	w.waitFor("watch.degraded", 1)
	if line := w.log.Events("watch.degraded")[0]; line["reason"] != noAnswer || line["dir"] != root {
		t.Errorf("said %v", line)
	}
	select {
	case <-w.Ready():
	case <-time.After(patience):
		t.Error("whoever waits for it to be ready waits for the file system")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.Ping(ctx); err != nil {
		t.Errorf("Ping: %v", err)
	}
	if !w.Totals().Degraded {
		t.Error("the totals say that all is well")
	}
	close(release)
	w.waitFor("watch.restored", 1)
	w.waitPID("a", 1)
	daemondirtest.Eventually(t, "the totals say so", func() bool { return !w.Totals().Degraded })
	if n := w.count("watch.degraded"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

// A timer that fires when the wait is over, or once more, changes nothing.
func TestStallIsSaidOnce(t *testing.T) {
	said := 0
	s := stall{limit: time.Hour, onStall: func() { said++ }, onAnswer: func() { said-- }}
	s.begin()
	s.end()
	if s.fire(); said != 0 || s.now() {
		t.Error("a wait that is over has lasted too long")
	}
	s.begin()
	s.fire()
	if s.fire(); said != 1 || !s.now() {
		t.Errorf("said %d times, stalled: %v", said, s.now())
	}
	s.begin()
	if s.end(); said != 0 || s.now() {
		t.Errorf("after the answer: %d are not taken back", said)
	}
}

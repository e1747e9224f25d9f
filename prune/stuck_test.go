package prune

import (
	"context"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// A worker that the disk holds up is said, once for a task, and exits are noticed all the
// while. Here it is the lock that it waits for.
func TestStuckWorkerIsSaid(t *testing.T) {
	b := newBench(t, Options{SweepInterval: 10 * time.Millisecond})
	b.stuckAfter = 50 * time.Millisecond
	daemondirtest.MakeLive(t, b.root, "a")
	_, other := daemondirtest.MakeLive(t, b.root, "b")
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- b.Run(ctx, watcherByHand{b.reg}) }()
	b.scan()
	b.wantEvents("daemon.live", 2)

	b.lock.mu.Lock()
	daemondirtest.Eventually(t, "it is said", func() bool { return len(b.log.Events("sweep.stuck")) > 0 })
	if portable {
		b.t.Log("exits are found by sweeps only")
	} else {
		_ = other.Process.Kill()
		b.wantEvents("daemon.exited", 1)
	}
	line := b.log.Events("sweep.stuck")[0]
	if line["daemon"] != "a" && line["daemon"] != "b" || line["waited_ms"] != 50.0 {
		t.Errorf("said %v", line)
	}
	time.Sleep(4 * b.stuckAfter)
	if n := len(b.log.Events("sweep.stuck")); n != 1 {
		t.Errorf("said %d times", n)
	}
	sweeps := b.Totals().Sweeps
	b.lock.mu.Unlock()
	daemondirtest.Eventually(t, "the sweep goes on", func() bool { return b.Totals().Sweeps > sweeps+1 })
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

package prune

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"runtimegc/prune/internal/proc"
	"runtimegc/registry/daemondir/daemondirtest"
)

// traced collects what Options.Trace is called with.
type traced struct {
	mu     sync.Mutex // guards events
	events []TraceEvent
}

func (c *traced) trace(e TraceEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, e)
}

// of returns what was traced of these events, a word each, with whether it is timed.
func (c *traced) of(events ...string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []string
	for _, e := range c.events {
		if slices.Contains(events, e.Event) {
			word := fmt.Sprint(e.Event, " ", e.Daemon)
			if e.Timed {
				word += " timed"
			}
			if e.Latency < 0 || e.Latency > time.Hour {
				word += " after " + e.Latency.String()
			}
			found = append(found, word)
		}
	}
	return found
}

// Only what an event led to has a latency: not what was there at the start, and not what
// a sweep finds.
func TestTraceOfALife(t *testing.T) {
	var c traced
	b := running(t, Options{SweepInterval: time.Hour, Trace: c.trace})
	daemondirtest.MakeLive(t, b.root, "old")
	b.scan() // as at the start: without a time
	b.wantEvents("daemon.live", 1)

	d, cmd := daemondirtest.MakeLive(t, b.root, "born")
	b.w.Put(entryOf(t, d), time.Now())
	b.wantEvents("daemon.live", 2)

	_ = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait()
	b.scan()
	want := []string{"daemon.live old", "daemon.live born timed", "daemon.exited born timed"}
	if x, err := proc.NewExits(); err == nil {
		x.Close()
	} else {
		b.w.SetSynced() // there the sweep finds the exit
		want[2] = "daemon.exited born"
	}
	b.wantEvents("daemon.exited", 1)
	daemondirtest.Eventually(t, fmt.Sprint("traced: ", want), func() bool { return slices.Equal(c.of("daemon.live", "daemon.exited"), want) })
	if total := b.Totals(); total.Born != 2 || total.Exited != 1 {
		t.Errorf("in total %+v, want 2 born, 1 exited", total)
	}
}

// All that is done is traced, in the order in which it is logged, and all of it before
// Sweep returns.
func TestTraceOfASweep(t *testing.T) {
	var c traced
	b := newBench(t, Options{Trace: c.trace, Protect: []string{"protected"}})
	daemondirtest.MakeDead(t, b.root, "dead", 2*time.Hour)
	daemondirtest.MakeLive(t, b.root, "live")
	daemondirtest.Make(t, b.root, "protected", sidecarText(1, 1), "")
	b.scan()
	later := time.Now().Add(time.Second) // a sidecar of this very millisecond needs no refresh
	b.now = func() time.Time { return later }
	result, err := b.Sweep(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := c.of("daemon.removed", "daemon.kept", "sidecar.refreshed", "sweep.done")
	want := []string{"daemon.kept protected", "sidecar.refreshed live", "daemon.removed dead", "sweep.done "}
	if !slices.Equal(got, want) {
		t.Errorf("traced %q, want %q", got, want)
	}
	last := c.events[len(c.events)-1]
	if last.Stats != result.Stats || result.Removed != 1 || last.Took <= 0 {
		t.Errorf("the sweep came to %+v, traced as %+v", result.Stats, last)
	}
	for _, e := range c.events {
		if e.Event == "daemon.removed" && (e.Bytes == 0 || e.Reason != Exited) {
			t.Errorf("traced %+v", e)
		}
	}
}

// A trace function that does not return delays nothing that is logged, and not the end
// either: that is an error.
func TestTraceThatIsStuck(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	b := newBench(t, Options{SweepInterval: time.Hour, Trace: func(TraceEvent) { <-release }})
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- b.Run(ctx, watcherByHand{b.reg}) }()
	for i := range 3 {
		daemondirtest.MakeLive(t, b.root, fmt.Sprint(i))
		b.scan()
		b.wantEvents("daemon.live", i+1)
	}
	cancel()
	select {
	case err := <-ran:
		if !errors.Is(err, ErrTraceStuck) {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(traceTimeout + 20*time.Second):
		t.Fatal("Run does not end")
	}
}

package integration

import (
	"slices"
	"syscall"
	"testing"
	"time"
)

// A birth and an exit must be told at once. What "at once" is depends on the machine:
// the figures are printed, and only what no machine excuses fails.
func TestLatency(t *testing.T) {
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	w := startWatch(t, root)
	w.next("root.found", "")
	var born, died []time.Duration
	for range 50 {
		d := s.spawn("d" + time.Now().Format("150405.000000000"))
		live := w.next("daemon.live", d.name)
		born = append(born, live.arrived.Sub(d.closed))
		d.kill()
		exited := w.next("daemon.exited", d.name)
		died = append(died, exited.arrived.Sub(d.killed))
	}
	w.stop(syscall.SIGTERM)
	for what, times := range map[string][]time.Duration{
		"close of the pid file to daemon.live": born,
		"kill to daemon.exited":                died,
	} {
		slices.Sort(times)
		median := times[len(times)/2]
		t.Logf("%s: median %v, 90th percentile %v, worst %v", what, median, times[len(times)*9/10], times[len(times)-1])
		if median > time.Second {
			t.Errorf("%s: median %v", what, median)
		}
	}
}

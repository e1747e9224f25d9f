package watcher

import (
	"testing"
	"time"
)

// One overflow is made good at once. While they go on, resyncs become rare, and never take
// more than their share of the time. If one takes very long, maybe because the process was stopped,
// the next one comes all the same.
func TestResync(t *testing.T) {
	now := time.Now()
	for name, took := range map[string]time.Duration{"small": 10 * time.Millisecond, "large": 2 * time.Second, "stopped": time.Minute} {
		t.Run(name, func(t *testing.T) {
			share := min(resyncShare*took, 30*time.Second)
			var r resync
			var waits []time.Duration
			for range 10 {
				wait, ok := r.overflow(now)
				if !ok {
					t.Fatal("the overflow counts for nothing")
				}
				if _, again := r.overflow(now); again {
					t.Error("two resyncs for two overflows at once")
				}
				waits = append(waits, wait)
				now = now.Add(wait + took)
				if !r.done(now) || r.done(now) {
					t.Error("not done once")
				}
			}
			if waits[0] != 0 || waits[1] < resyncDistance || waits[1] < share {
				t.Errorf("waits %v", waits)
			}
			if last := waits[9]; last != max(maxResyncDistance, share) {
				t.Errorf("waits %v at last", last)
			}
			now = now.Add(time.Hour)
			if wait, _ := r.overflow(now); wait != 0 {
				t.Errorf("waits %v an hour later", wait)
			}
		})
	}
}

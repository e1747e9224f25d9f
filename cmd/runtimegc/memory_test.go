package main

import (
	"runtime"
	"testing"

	"runtimegc/prune"
)

// Memory is given back after the first sweep and after one that has removed much, and whoever
// else listens hears everything.
func TestGivingBack(t *testing.T) {
	heard := 0
	trace := givingBack(func(prune.TraceEvent) { heard++ })
	for _, test := range []struct {
		rule  string
		event prune.TraceEvent
		back  uint32
	}{
		{"before the first sweep", prune.TraceEvent{Event: "daemon.live"}, 0},
		{"the first sweep", prune.TraceEvent{Event: "sweep.done"}, 1},
		{"the second", prune.TraceEvent{Event: "sweep.done"}, 0},
		{"little is removed", prune.TraceEvent{Event: "sweep.done", Stats: prune.Stats{Removed: muchRemoved - 1}}, 0},
		{"much is removed", prune.TraceEvent{Event: "sweep.done", Stats: prune.Stats{Removed: muchRemoved}}, 1},
	} {
		before := forcedCollections()
		trace(test.event)
		if back := forcedCollections() - before; back != test.back {
			t.Errorf("%s: given back %d times, want %d", test.rule, back, test.back)
		}
	}
	if heard != 5 {
		t.Errorf("%d of 5 events were heard", heard)
	}
	givingBack(nil)(prune.TraceEvent{Event: "sweep.done"})
}

func forcedCollections() uint32 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.NumForcedGC
}

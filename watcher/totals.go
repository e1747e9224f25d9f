package watcher

// What a watcher has seen, counted for whoever asks while it runs.

import (
	"sync/atomic"
	"time"
)

// Totals is what a watcher has seen so far, over all its sessions.
type Totals struct {
	Events    int64 // taken from fsnotify, whatever they were about
	Reads     int64 // looks at one daemon dir
	Overflows int64 // events.overflow, as logged
	Resyncs   int64 // registry.resynced, as logged

	Degraded bool // something is polled now, because it cannot be watched
	Polled   int  // daemon dirs that are
}

// counters are what [Totals] is made of.
type counters struct {
	events, reads, overflows, resyncs, polled atomic.Int64
	polling                                   atomic.Bool
}

// Totals returns what the watcher has seen so far. Any goroutine may call it.
func (t *counters) Totals() Totals {
	return Totals{
		Events: t.events.Load(), Reads: t.reads.Load(),
		Overflows: t.overflows.Load(), Resyncs: t.resyncs.Load(),
		Degraded: t.polling.Load(), Polled: int(t.polled.Load()),
	}
}

// taken counts an event and returns when it arrived.
func (w *Watcher) taken() time.Time {
	w.events.Add(1)
	return time.Now()
}

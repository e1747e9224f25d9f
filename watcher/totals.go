package watcher

import (
	"sync/atomic"
	"time"
)

// Totals is what a watcher has seen so far, over all its sessions.
type Totals struct {
	Events    int64 // received from fsnotify, including noise
	Reads     int64 // of one daemon dir each
	Overflows int64 // events.overflow, as logged
	Resyncs   int64 // registry.resynced, as logged

	Degraded bool // something cannot be watched now, and is polled, or the root does not answer
	Polled   int  // daemon dirs that are polled now
}

type counters struct {
	events, reads, overflows, resyncs, polled atomic.Int64
	polling                                   atomic.Bool
}

// Totals returns what the watcher has seen so far. Any goroutine may call it.
func (w *Watcher) Totals() Totals {
	return Totals{
		Events: w.events.Load(), Reads: w.reads.Load(),
		Overflows: w.overflows.Load(), Resyncs: w.resyncs.Load(),
		Degraded: w.polling.Load() || w.stall.now(), Polled: int(w.polled.Load()),
	}
}

// taken counts an event and returns the time of its arrival.
func (w *Watcher) taken() time.Time {
	w.events.Add(1)
	return time.Now()
}

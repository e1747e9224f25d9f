package prune

import (
	"errors"
	"sync"
	"time"
)

// A TraceEvent is something that a collector has noticed or done, for whoever counts it.
// Its name and meaning are those of the line in the log.
type TraceEvent struct {
	Event  string // daemon.live, daemon.exited, daemon.removed, daemon.kept, sidecar.refreshed, sweep.done
	Daemon string // its name, any bytes; empty for sweep.done
	Reason Reason // of daemon.exited, daemon.removed, daemon.kept

	// Latency, of daemon.live and daemon.exited that an event led to (Timed): from its
	// arrival to the line in the log.
	Latency time.Duration
	Timed   bool

	Bytes int64         // of daemon.removed: freed
	Stats Stats         // of sweep.done
	Took  time.Duration // of sweep.done
}

// ErrTraceStuck says that Options.Trace has not returned for a while after all else was
// done.
var ErrTraceStuck = errors.New("prune: Options.Trace does not return")

// traceTimeout is how long the end of a run waits for Options.Trace.
const traceTimeout = 5 * time.Second

// A tracer hands trace events on, on a goroutine of its own: whoever receives them may be
// slow, and delays nothing. A nil one does nothing.
type tracer struct {
	mu      sync.Mutex // guards events and over
	more    sync.Cond  // there are events, or it is over
	events  []TraceEvent
	over    bool
	stopped chan struct{} // closed when all was handed on
}

func newTracer(to func(TraceEvent)) *tracer {
	if to == nil {
		return nil
	}
	t := &tracer{stopped: make(chan struct{})}
	t.more.L = &t.mu
	go func() { // until close
		defer close(t.stopped)
		for events := t.wait(); len(events) > 0; events = t.wait() {
			for _, e := range events {
				to(e)
			}
		}
	}()
	return t
}

// wait returns the next events, or none when it is over.
func (t *tracer) wait() []TraceEvent {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.events) == 0 && !t.over {
		t.more.Wait()
	}
	events := t.events
	t.events = nil
	return events
}

func (t *tracer) add(e TraceEvent) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, e)
	t.more.Signal()
}

// close waits until all was handed on. The error is ErrTraceStuck.
func (t *tracer) close() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	t.over = true
	t.more.Signal()
	t.mu.Unlock()
	select {
	case <-t.stopped:
		return nil
	case <-time.After(traceTimeout):
		return ErrTraceStuck
	}
}

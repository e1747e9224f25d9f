package prune

import (
	"errors"
	"sync"
	"time"
)

// A TraceEvent is something that a collector has noticed or done, for metrics. It has the
// name and meaning of the log line.
type TraceEvent struct {
	Event  string // daemon.live, daemon.exited, daemon.removed, daemon.kept, sidecar.refreshed, sweep.done
	Daemon string // its name, any bytes; empty for sweep.done
	Reason Reason // of daemon.exited, daemon.removed, daemon.kept

	// Latency is the time from the arrival of an event to the log line, of daemon.live and
	// daemon.exited. Timed is false if there was no event.
	Latency time.Duration
	Timed   bool

	Bytes int64         // of daemon.removed: freed
	Stats Stats         // of sweep.done
	Took  time.Duration // of sweep.done
}

// ErrTraceStuck says that Options.Trace has not returned within 5 s after the end of a run.
var ErrTraceStuck = errors.New("prune: Options.Trace does not return")

const traceTimeout = 5 * time.Second

// A tracer calls Options.Trace on its own goroutine, so that a slow one delays nothing. The
// methods of a nil tracer do nothing.
type tracer struct {
	mu      sync.Mutex // guards events and over
	more    sync.Cond  // signals that there are events, or over is set
	events  []TraceEvent
	over    bool
	stopped chan struct{} // closed when all events have been passed on
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

// wait returns the next events, or none after close.
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

// close waits until all events have been passed on. The error is ErrTraceStuck.
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

package registry

import (
	"sync"
	"time"
)

// A Queue collects names that have changed and returns them in the order in which they were
// first added. A name that is added again before it is taken is still returned only once.
// So whatever is added while the consumer is busy becomes one batch.
type Queue struct {
	ready chan struct{} // one slot, full while names are waiting

	mu    sync.Mutex // guards order and since
	order []string
	since map[string]time.Time // of each waiting name, see Change
}

// A Change is a name that was taken from a queue. Since is when the event arrived for which
// it was added, the first of several, or zero if there was none (a scan, a poll).
type Change struct {
	Name  string
	Since time.Time
}

// NewQueue returns an empty queue.
func NewQueue() *Queue {
	return &Queue{ready: make(chan struct{}, 1), since: make(map[string]time.Time)}
}

// Add adds a name, because of an event that arrived at that time, or zero. It never blocks.
func (q *Queue) Add(name string, at time.Time) {
	q.mu.Lock()
	since, ok := q.since[name]
	if !ok {
		q.order = append(q.order, name)
	}
	if !ok || since.IsZero() && !at.IsZero() {
		q.since[name] = at
	}
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// Ready receives a value when names may be waiting.
func (q *Queue) Ready() <-chan struct{} { return q.ready }

// Take returns the waiting names and leaves the queue empty.
func (q *Queue) Take() []Change {
	q.mu.Lock()
	defer q.mu.Unlock()
	changes := make([]Change, len(q.order))
	for i, name := range q.order {
		changes[i] = Change{name, q.since[name]}
	}
	q.order = nil
	// A fresh map after a large batch: Go's maps do not shrink.
	if len(changes) > 1024 {
		q.since = make(map[string]time.Time)
	} else {
		clear(q.since)
	}
	return changes
}

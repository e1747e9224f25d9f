package registry

import (
	"errors"
	"time"

	"runtimegc/registry/daemondir"
)

// ErrWritten says that a registry already has a writer. Two would delete each other's
// entries.
var ErrWritten = errors.New("the registry already has a writer")

// A Writer keeps a registry equal to the disk.
type Writer struct{ r *Registry }

// Write returns the registry's writer. Until it is closed, the next call is [ErrWritten].
func (r *Registry) Write() (*Writer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.written {
		return nil, ErrWritten
	}
	r.written = true
	return &Writer{r}, nil
}

// Close lets another writer take over.
func (w *Writer) Close() {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	w.r.written = false
}

// Put stores e under its name. If that changes anything, it notifies the followers and
// returns true. at is when the event that led to it arrived, or zero.
func (w *Writer) Put(e daemondir.Entry, at time.Time) bool {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	if old, ok := w.r.entries[e.Name]; ok && *old == e {
		return false
	}
	w.r.entries[e.Name] = &e
	w.r.changed(e.Name, at)
	return true
}

// Delete removes the entry of that name. If there was one, it notifies the followers and
// returns true.
func (w *Writer) Delete(name string) bool {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	_, ok := w.r.entries[name]
	delete(w.r.entries, name)
	delete(w.r.expected, name)
	if ok {
		w.r.changed(name, time.Time{})
	}
	return ok
}

// changed notifies the followers. The caller holds mu.
func (r *Registry) changed(name string, at time.Time) {
	for _, f := range r.followers {
		f.Add(name, at)
	}
}

// SetSynced notifies the followers that the registry equals the root.
func (w *Writer) SetSynced() {
	w.r.mu.RLock()
	defer w.r.mu.RUnlock()
	for _, f := range w.r.followers {
		select {
		case f.synced <- struct{}{}:
		default:
		}
	}
}

// Expects reports whether [Registry.Expect] was called for that name.
func (w *Writer) Expects(name string) bool {
	w.r.mu.RLock()
	defer w.r.mu.RUnlock()
	_, ok := w.r.expected[name]
	return ok
}

// TakeExpected returns, and forgets, the entry that [Registry.Expect] was given.
func (w *Writer) TakeExpected(name string) (daemondir.Entry, bool) {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	e, ok := w.r.expected[name]
	delete(w.r.expected, name)
	return e, ok
}

// Doubts is the queue of the names that [Registry.Doubt] was given.
func (w *Writer) Doubts() *Queue { return w.r.doubts }

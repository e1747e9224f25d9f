package registry

import (
	"errors"
	"time"

	"runtimegc/registry/daemondir"
)

// ErrWritten says that a registry has a writer, and may not have another: two would delete
// each other's entries.
var ErrWritten = errors.New("the registry is written by somebody else")

// A Writer keeps a registry equal to the disk.
type Writer struct{ r *Registry }

// Write returns the registry's only writer until that is closed. The error is [ErrWritten].
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

// Put stores e under its name, and tells the followers if that changed anything, which it
// reports. at is when the event arrived that led to it, or zero.
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

// Delete removes the entry of that name, and tells the followers if there was one, which
// it reports.
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

// changed tells the followers; the caller holds mu.
func (r *Registry) changed(name string, at time.Time) {
	for _, f := range r.followers {
		f.Add(name, at)
	}
}

// SetSynced tells the followers that the registry equals the root.
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

// Expects says whether a write to the sidecar of that name is expected; see
// [Registry.Expect].
func (w *Writer) Expects(name string) bool {
	w.r.mu.RLock()
	defer w.r.mu.RUnlock()
	_, ok := w.r.expected[name]
	return ok
}

// TakeExpected returns what the dir of that name is expected to be, and forgets it.
func (w *Writer) TakeExpected(name string) (daemondir.Entry, bool) {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	e, ok := w.r.expected[name]
	delete(w.r.expected, name)
	return e, ok
}

// Doubts is the queue of names in doubt; see [Registry.Doubt].
func (w *Writer) Doubts() *Queue { return w.r.doubts }

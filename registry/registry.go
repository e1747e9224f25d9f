package registry

import (
	"sync"
	"time"

	"runtimegc/registry/daemondir"
)

// A Registry is the map of daemon dirs, by name. The watcher is its only writer;
// everybody may read. What comes out is a copy.
type Registry struct {
	changes *Queue

	mu      sync.RWMutex                // guards entries
	entries map[string]*daemondir.Entry // never written to, but replaced; pointers keep the map small
}

// New returns an empty registry.
func New() *Registry {
	return &Registry{changes: NewQueue(), entries: make(map[string]*daemondir.Entry)}
}

// Put stores e under its name. It reports whether that changed anything; if so the
// name is added to [Registry.Changes].
func (r *Registry) Put(e daemondir.Entry) bool { return r.PutAt(e, time.Time{}) }

// PutAt is Put of an entry that was read because of something noticed at that time;
// the queue of changes hands it on.
func (r *Registry) PutAt(e daemondir.Entry, at time.Time) bool {
	r.mu.Lock()
	old, ok := r.entries[e.Name]
	changed := !ok || *old != e
	if changed {
		r.entries[e.Name] = &e
	}
	r.mu.Unlock()
	if changed {
		r.changes.AddAt(e.Name, at)
	}
	return changed
}

// Delete removes the entry of that name. It reports whether there was one; if so the
// name is added to [Registry.Changes].
func (r *Registry) Delete(name string) bool {
	r.mu.Lock()
	_, ok := r.entries[name]
	delete(r.entries, name)
	r.mu.Unlock()
	if ok {
		r.changes.Add(name)
	}
	return ok
}

// Get returns the entry of that name.
func (r *Registry) Get(name string) (daemondir.Entry, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e, ok := r.entries[name]
	if !ok {
		return daemondir.Entry{}, false
	}
	return *e, true
}

// Names returns the names of all entries, in no order.
func (r *Registry) Names() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	names := make([]string, 0, len(r.entries))
	for name := range r.entries {
		names = append(names, name)
	}
	return names
}

// Len returns the number of entries.
func (r *Registry) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.entries)
}

// Changes is the queue of names whose entry was stored, changed or deleted. It has
// one consumer, who compares what it knew of a name with [Registry.Get].
func (r *Registry) Changes() *Queue { return r.changes }

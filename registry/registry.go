package registry

import (
	"errors"
	"path/filepath"
	"sync"
	"time"

	"runtimegc/registry/daemondir"
)

// A Registry is the map of the daemon dirs of one root, by name. It has one [Writer], the
// watcher; everybody else reads, and what comes out is a copy. Any goroutine may call its
// methods.
type Registry struct {
	root   string
	doubts *Queue

	mu        sync.RWMutex                // guards all below
	written   bool                        // there is a Writer
	entries   map[string]*daemondir.Entry // never written to, but replaced; pointers keep the map small
	expected  map[string]daemondir.Entry
	followers []*Follower
}

// New returns an empty registry of the daemon dirs in root, which need not exist. A
// relative root is taken as it stands now.
func New(root string) *Registry {
	if abs, err := filepath.Abs(root); err == nil && root != "" {
		root = abs // else it stays relative, and whoever serves it says so
	}
	return &Registry{
		root: root, doubts: NewQueue(),
		entries: make(map[string]*daemondir.Entry), expected: make(map[string]daemondir.Entry),
	}
}

// Root returns the runtime root, absolute and clean; a symlink in it is not resolved.
func (r *Registry) Root() string { return r.root }

// Check returns an error unless the registry has a root that can be served.
func (r *Registry) Check() error {
	switch {
	case r == nil:
		return errors.New("a registry is required")
	case !filepath.IsAbs(r.root):
		return errors.New("the registry has no root")
	}
	return nil
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
	return r.names()
}

// names is Names; the caller holds mu.
func (r *Registry) names() []string {
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

// A Follower hears of every change of a registry. Make it with [Registry.Follow].
type Follower struct {
	*Queue // the names whose entry was stored, changed or deleted
	of     *Registry
	synced chan struct{}
}

// Follow returns a follower of all that changes from here on; the entries there are count
// as changed. A registry may have several followers, and each hears of everything. It
// compares what it knew of a name with [Registry.Get].
func (r *Registry) Follow() *Follower {
	f := &Follower{Queue: NewQueue(), of: r, synced: make(chan struct{}, 1)}
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.entries {
		f.Add(name, time.Time{})
	}
	r.followers = append(r.followers, f)
	return f
}

// Synced receives when the registry has become equal to the root: after the first
// complete scan of a root that was found, and after the scan that follows lost events.
func (f *Follower) Synced() <-chan struct{} { return f.synced }

// Close ends the following.
func (f *Follower) Close() {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	for i, other := range f.of.followers {
		if other == f {
			f.of.followers = append(f.of.followers[:i:i], f.of.followers[i+1:]...)
			return
		}
	}
}

// Expect says that the caller has written the sidecar of e, and that e is the entry since:
// the watcher need not read what we wrote ourselves. It is a hint like an event: if that
// comes first, the dir is read.
func (r *Registry) Expect(e daemondir.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Of a dir that has gone no event would take it away again.
	if _, known := r.entries[e.Name]; known {
		r.expected[e.Name] = e
	}
}

// Doubt says that the dir name on disk was found to be another than its entry says, so
// that the watcher looks at it anew: some changes raise no event.
func (r *Registry) Doubt(name string) { r.doubts.Add(name, time.Time{}) }

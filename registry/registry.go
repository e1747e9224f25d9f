// Package registry is the map of daemon dirs. The watcher fills it, and everybody else
// reads it. Package daemondir knows what a daemon dir is on disk.
//
// It has no goroutine, no clock and no logger, and imports the standard library only.
package registry

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"runtimegc/registry/daemondir"
)

// A Registry is the map of the daemon dirs of one root, by name. It has one [Writer], the
// watcher. Readers get copies. Any goroutine may call its methods.
type Registry struct {
	root   string
	doubts *Queue

	mu        sync.RWMutex                // guards all below
	written   bool                        // there is a Writer
	entries   map[string]*daemondir.Entry // replaced, never modified; pointers keep the map small
	expected  map[string]daemondir.Entry  // see Expect
	followers []*Follower
}

// New returns an empty registry of the daemon dirs in root, which need not exist. A
// relative root is resolved in the current directory.
func New(root string) *Registry {
	if abs, err := filepath.Abs(root); err == nil && root != "" {
		root = abs // else Check returns an error
	}
	return &Registry{
		root: root, doubts: NewQueue(),
		entries: make(map[string]*daemondir.Entry), expected: make(map[string]daemondir.Entry),
	}
}

// Root returns the runtime root, absolute and clean; a symlink in it is not resolved.
func (r *Registry) Root() string { return r.root }

// Check returns an error if r is nil or has no absolute root.
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
	return slices.AppendSeq(make([]string, 0, len(r.entries)), maps.Keys(r.entries))
}

// Len returns the number of entries.
func (r *Registry) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.entries)
}

// A Follower receives every change of a registry. Make it with [Registry.Follow].
type Follower struct {
	*Queue // the names whose entry was stored, changed or deleted
	of     *Registry
	synced chan struct{}
}

// Follow returns a follower that receives the names of all entries there are, and then of
// all that change. [Registry.Get] returns what they are now. A registry may have several
// followers, and each receives everything.
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

// Synced receives a value when the registry has become equal to the root: after the first
// complete scan of a root that was found. A scan that follows lost events only adds to the
// changes.
func (f *Follower) Synced() <-chan struct{} { return f.synced }

// Close stops the follower.
func (f *Follower) Close() {
	f.of.mu.Lock()
	defer f.of.mu.Unlock()
	f.of.followers = slices.DeleteFunc(f.of.followers, func(other *Follower) bool { return other == f })
}

// Expect tells the watcher that the caller has just written the sidecar of e, and that e is
// the new entry, so that the watcher need not read the dir. If the event of that write
// arrives before this call, the watcher reads the dir all the same.
func (r *Registry) Expect(e daemondir.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// No event would delete the expectation for a dir that has been removed.
	if _, known := r.entries[e.Name]; known {
		r.expected[e.Name] = e
	}
}

// Doubt tells the watcher that the dir name on disk was found to differ from its entry, so
// that the watcher reads it: some changes raise no event.
func (r *Registry) Doubt(name string) { r.doubts.Add(name, time.Time{}) }

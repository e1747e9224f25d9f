package registry

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"runtimegc/registry/daemondir"
)

func TestRegistry(t *testing.T) {
	r := New()
	a := daemondir.Entry{Name: "a", LastSeen: daemondir.At(1)}
	if _, ok := r.Get("a"); ok || r.Len() != 0 || len(r.Names()) != 0 || ready(r.Changes()) {
		t.Error("a new registry is not empty")
	}
	if r.Delete("a") {
		t.Error("deleted what was not there")
	}
	checkChanges(t, r, "deleting what was not there")

	if !r.Put(a) {
		t.Error("a new entry is no change")
	}
	checkChanges(t, r, "a new entry", "a")
	if e, ok := r.Get("a"); !ok || e != a {
		t.Errorf("got %+v, %v", e, ok)
	}

	if !r.Put(daemondir.Entry{Name: "b"}) || !r.Delete("a") || !r.Put(a) {
		t.Error("a change was not reported")
	}
	checkChanges(t, r, "coalesced, in the order of the first change", "b", "a")

	if got := r.Names(); len(got) != 2 || !slices.Contains(got, "a") || !slices.Contains(got, "b") || r.Len() != 2 {
		t.Errorf("names %q, length %d", got, r.Len())
	}
	if !r.Delete("a") || r.Delete("a") {
		t.Error("Delete does not report whether there was one")
	}
	checkChanges(t, r, "a deletion", "a")
	if e, ok := r.Get("a"); ok || e != (daemondir.Entry{}) || r.Len() != 1 {
		t.Errorf("got %+v, %v after Delete", e, ok)
	}
}

// The watcher puts an entry for every hint; only a difference may wake the consumer.
func TestRegistryPutReportsEveryDifference(t *testing.T) {
	base := daemondir.Entry{Name: "a"}
	for _, tt := range []struct {
		name    string
		next    daemondir.Entry
		changed bool
	}{
		{"nothing", daemondir.Entry{Name: "a"}, false},
		{"the directory", daemondir.Entry{Name: "a", Dir: daemondir.FileID{Ino: 1}}, true},
		{"the device", daemondir.Entry{Name: "a", Dir: daemondir.FileID{Dev: 1}}, true},
		{"the problem", daemondir.Entry{Name: "a", Problem: daemondir.ProblemEmpty}, true},
		{"the sidecar's inode", daemondir.Entry{Name: "a", Sidecar: daemondir.Stamp{Ino: 1}}, true},
		{"the sidecar's size", daemondir.Entry{Name: "a", Sidecar: daemondir.Stamp{Size: 1}}, true},
		{"the sidecar's time", daemondir.Entry{Name: "a", Sidecar: daemondir.Stamp{MTime: 1}}, true},
		{"spawned_at became known", daemondir.Entry{Name: "a", SpawnedAt: daemondir.At(0)}, true},
		{"last_seen", daemondir.Entry{Name: "a", LastSeen: daemondir.At(1)}, true},
		{"the pid file", daemondir.Entry{Name: "a", PIDFile: daemondir.Stamp{MTime: 1}}, true},
		{"the pid", daemondir.Entry{Name: "a", PID: daemondir.PID{N: 1, Known: true}}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := New()
			r.Put(base)
			checkChanges(t, r, "the first Put", "a")
			if got := r.Put(tt.next); got != tt.changed {
				t.Errorf("Put reported %v", got)
			}
			var want []string
			if tt.changed {
				want = []string{"a"}
			}
			checkChanges(t, r, "the second Put", want...)
			if e, _ := r.Get("a"); e != tt.next {
				t.Errorf("holds %+v", e)
			}
		})
	}
}

// One writer and a consumer who compares what it knows with what Get says: when the
// writer is done and the queue is empty, the two agree.
func TestRegistryConcurrent(t *testing.T) {
	const names, rounds = 50, 200
	r := New()
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		defer close(done)
		for i := range rounds {
			for n := range names {
				name := fmt.Sprint(n)
				if (i+n)%3 == 0 {
					r.Delete(name)
				} else {
					r.Put(daemondir.Entry{Name: name, LastSeen: daemondir.At(uint64(i))})
				}
			}
		}
	})
	group.Go(func() { // a reader who looks at all of it
		for {
			for _, name := range r.Names() {
				if e, ok := r.Get(name); ok && e.Name != name {
					t.Errorf("%s under the name %s", e.Name, name)
				}
			}
			if r.Len() > names {
				t.Errorf("%d entries", r.Len())
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	known := make(map[string]daemondir.Entry)
	look := func() {
		for _, name := range r.Changes().Take() {
			if e, ok := r.Get(name); ok {
				known[name] = e
			} else {
				delete(known, name)
			}
		}
	}
	for working := true; working; {
		select {
		case <-r.Changes().Ready():
			look()
		case <-done:
			working = false
		}
	}
	group.Wait()
	look()
	if len(known) != r.Len() {
		t.Errorf("the consumer knows %d entries, there are %d", len(known), r.Len())
	}
	for name, e := range known {
		if got, ok := r.Get(name); !ok || got != e {
			t.Errorf("the consumer knows %+v, the registry holds %+v, %v", e, got, ok)
		}
	}
}

// checkChanges takes the waiting names.
func checkChanges(t *testing.T, r *Registry, after string, want ...string) {
	t.Helper()
	if got := ready(r.Changes()); got != (len(want) > 0) {
		t.Errorf("after %s: ready is %v", after, got)
	}
	if got := r.Changes().Take(); !slices.Equal(got, want) {
		t.Errorf("after %s: changes %q, want %q", after, got, want)
	}
}

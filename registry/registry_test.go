package registry

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
)

func TestRegistry(t *testing.T) {
	r := New("/root")
	f, w := r.Follow(), writer(t, r)
	a := daemondir.Entry{Name: "a", LastSeen: daemondir.At(1)}
	if _, ok := r.Get("a"); ok || r.Len() != 0 || len(r.Names()) != 0 || ready(f.Queue) {
		t.Error("a new registry is not empty")
	}
	if w.Delete("a") {
		t.Error("deleted what was not there")
	}
	checkChanges(t, f, "deleting what was not there")

	if !w.Put(a, time.Time{}) {
		t.Error("a new entry is no change")
	}
	checkChanges(t, f, "a new entry", "a")
	if e, ok := r.Get("a"); !ok || e != a {
		t.Errorf("got %+v, %v", e, ok)
	}

	if !w.Put(daemondir.Entry{Name: "b"}, time.Time{}) || !w.Delete("a") || !w.Put(a, time.Time{}) {
		t.Error("a change was not reported")
	}
	checkChanges(t, f, "coalesced, in the order of the first change", "b", "a")

	if got := r.Names(); len(got) != 2 || !slices.Contains(got, "a") || !slices.Contains(got, "b") || r.Len() != 2 {
		t.Errorf("names %q, length %d", got, r.Len())
	}
	if !w.Delete("a") || w.Delete("a") {
		t.Error("Delete does not report whether there was one")
	}
	checkChanges(t, f, "a deletion", "a")
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
			r := New("/root")
			f, w := r.Follow(), writer(t, r)
			put := func(e daemondir.Entry) bool { return w.Put(e, time.Time{}) }
			put(base)
			checkChanges(t, f, "the first Put", "a")
			if got := put(tt.next); got != tt.changed {
				t.Errorf("Put reported %v", got)
			}
			var want []string
			if tt.changed {
				want = []string{"a"}
			}
			checkChanges(t, f, "the second Put", want...)
			if e, _ := r.Get("a"); e != tt.next {
				t.Errorf("holds %+v", e)
			}
		})
	}
}

// One writer and a consumer who compares what it knows with what Get says: when the
// writer is done and the queue is empty, the two agree.
func TestRegistryConcurrent(t *testing.T) {
	const count, rounds = 50, 200
	r := New("/root")
	f, w := r.Follow(), writer(t, r)
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		defer close(done)
		for i := range rounds {
			for n := range count {
				name := fmt.Sprint(n)
				if (i+n)%3 == 0 {
					w.Delete(name)
				} else {
					w.Put(daemondir.Entry{Name: name, LastSeen: daemondir.At(uint64(i))}, time.Time{})
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
			if r.Len() > count {
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
		for _, name := range names(f.Queue) {
			if e, ok := r.Get(name); ok {
				known[name] = e
			} else {
				delete(known, name)
			}
		}
	}
	for working := true; working; {
		select {
		case <-f.Ready():
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
func checkChanges(t *testing.T, f *Follower, after string, want ...string) {
	t.Helper()
	if got := ready(f.Queue); got != (len(want) > 0) {
		t.Errorf("after %s: ready is %v", after, got)
	}
	if got := names(f.Queue); !slices.Equal(got, want) {
		t.Errorf("after %s: changes %q, want %q", after, got, want)
	}
}

// Each follower hears of everything, whatever others have taken, and of what was there
// before it came; one that has gone is not added to for ever.
func TestFollowers(t *testing.T) {
	r := New("/root")
	w := writer(t, r)
	w.Put(daemondir.Entry{Name: "before"}, time.Time{})
	a, b := r.Follow(), r.Follow()
	w.Put(daemondir.Entry{Name: "after"}, time.Time{})
	w.SetSynced()
	w.SetSynced()
	for _, f := range []*Follower{a, b} {
		checkChanges(t, f, "two entries", "before", "after")
		<-f.Synced()
		select {
		case <-f.Synced():
			t.Error("synced twice: more than one slot")
		default:
		}
	}
	a.Close()
	a.Close()
	w.Delete("after")
	checkChanges(t, a, "its end")
	checkChanges(t, b, "the end of another", "after")
}

// There is one writer at a time.
func TestOneWriter(t *testing.T) {
	r := New("/root")
	w := writer(t, r)
	if _, err := r.Write(); !errors.Is(err, ErrWritten) {
		t.Errorf("a second writer: %v", err)
	}
	w.Close()
	writer(t, r)
}

// What is expected of a dir is forgotten with it, and of one that nobody knows there is
// nothing to expect.
func TestExpected(t *testing.T) {
	r := New("/root")
	w := writer(t, r)
	a := daemondir.Entry{Name: "a"}
	r.Expect(a)
	if w.Expects("a") {
		t.Error("something is expected of a dir that nobody knows")
	}
	w.Put(a, time.Time{})
	r.Expect(a)
	if got, ok := w.TakeExpected("a"); !ok || got != a || w.Expects("a") {
		t.Errorf("took %+v, %v", got, ok)
	}
	r.Expect(a)
	w.Delete("a")
	if _, ok := w.TakeExpected("a"); ok {
		t.Error("something is expected of a dir that is gone")
	}
}

// A root is taken as it stands when the registry is made.
func TestRoot(t *testing.T) {
	for root, ok := range map[string]bool{"/a/../b": true, "relative": true, "": false} {
		r := New(root)
		if got := r.Check() == nil; got != ok || ok && !filepath.IsAbs(r.Root()) {
			t.Errorf("%q: %q, %v", root, r.Root(), r.Check())
		}
	}
	if (*Registry)(nil).Check() == nil {
		t.Error("no registry is fine")
	}
}

package registry

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
)

func TestQueue(t *testing.T) {
	for _, tt := range []struct {
		name      string
		add, want []string
	}{
		{"nothing", nil, nil},
		{"one", []string{"a"}, []string{"a"}},
		{"in the order of adding", []string{"c", "a", "b"}, []string{"c", "a", "b"}},
		{"each once", []string{"a", "a", "a"}, []string{"a"}},
		{"the first adding sets the place", []string{"a", "b", "a", "c", "b"}, []string{"a", "b", "c"}},
		{"any bytes", []string{"", "\n", "\xff", "a b"}, []string{"", "\n", "\xff", "a b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := NewQueue()
			for range 2 { // a queue that was emptied is like a new one
				for _, name := range tt.add {
					q.Add(name, time.Time{})
				}
				if got := names(q); !slices.Equal(got, tt.want) {
					t.Errorf("took %q, want %q", got, tt.want)
				}
				if got := q.Take(); len(got) != 0 {
					t.Errorf("took %q from an empty queue", got)
				}
			}
		})
	}
}

func TestQueueReady(t *testing.T) {
	q := NewQueue()
	if ready(q) {
		t.Error("ready when empty")
	}
	for i := range 1000 { // with nobody receiving, Add must not block
		q.Add(fmt.Sprint(i), time.Time{})
	}
	if !ready(q) {
		t.Error("not ready with 1,000 names waiting")
	}
	if ready(q) {
		t.Error("ready twice: more than one slot")
	}
	q.Add("late", time.Time{})
	if !ready(q) {
		t.Error("not ready after an Add that came after the receive")
	}
	q.Add("late", time.Time{})
	if !ready(q) {
		t.Error("not ready after an Add of what was waiting already")
	}
	if got := q.Take(); len(got) != 1001 || got[1000].Name != "late" {
		t.Errorf("took %d names", len(got))
	}
	q.Add("next", time.Time{})
	if !ready(q) {
		t.Error("not ready after Take and Add")
	}
}

// What was taken is the consumer's: later names do not turn up in it.
func TestQueueTakenIsNotTouched(t *testing.T) {
	for _, size := range []int{3, 3000} { // above 1,024 the set is made anew
		q := NewQueue()
		for i := range size {
			q.Add(fmt.Sprint(i), time.Time{})
		}
		taken := q.Take()
		want := slices.Clone(taken)
		for i := range size {
			q.Add(fmt.Sprint("x", i), time.Time{})
		}
		if !slices.Equal(taken, want) {
			t.Errorf("a batch of %d changed after it was taken", size)
		}
		if got := q.Take(); len(got) != size {
			t.Errorf("took %d names, want %d", len(got), size)
		}
	}
}

// A batch of the size of a scan leaves no memory behind: Go's maps do not shrink.
func TestQueueGivesMemoryBack(t *testing.T) {
	q := NewQueue()
	used := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := used()
	for i := range 100_000 { // some 10 MB
		q.Add(fmt.Sprint(i), time.Time{})
	}
	q.Take()
	if left := used() - before; left > 1<<20 {
		t.Errorf("%d bytes are left in an empty queue", left)
	}
	runtime.KeepAlive(q)
}

// No wake-up may be lost: whatever the interleaving, a consumer that takes when it is
// woken gets every name, from each producer in order.
func TestQueueConcurrent(t *testing.T) {
	const producers, each = 4, 5000
	q := NewQueue()
	var group sync.WaitGroup
	defer group.Wait()
	for p := range producers {
		group.Go(func() {
			for i := range each {
				q.Add(fmt.Sprintf("%d/%d", p, i), time.Time{})
				q.Add(fmt.Sprintf("%d/%d", p, i/2), time.Time{}) // may wait already, may have been taken
			}
		})
	}
	deadline := time.After(30 * time.Second)
	seen := make(map[string]bool)
	next := [producers]int{}
	for len(seen) < producers*each {
		select {
		case <-q.Ready():
		case <-deadline:
			t.Fatalf("%d of %d names after 30 s", len(seen), producers*each)
		}
		batch := make(map[string]bool)
		for _, name := range names(q) {
			if batch[name] {
				t.Fatalf("%s twice in a batch", name)
			}
			batch[name] = true
			if seen[name] {
				continue
			}
			seen[name] = true
			var p, i int
			if _, err := fmt.Sscanf(name, "%d/%d", &p, &i); err != nil {
				t.Fatal(err)
			}
			if i != next[p] {
				t.Fatalf("%s came when %d was due", name, next[p])
			}
			next[p]++
		}
	}
}

// ready takes the slot, if it is full.
func ready(q *Queue) bool {
	select {
	case <-q.Ready():
		return true
	default:
		return false
	}
}

// A name has the time of the first notice that it waits for, however often it is added
// and by whom; once taken, the next notice begins anew.
func TestQueueKeepsTheFirstTime(t *testing.T) {
	first, second := time.UnixMilli(1), time.UnixMilli(2)
	q := NewQueue()
	for range 2 {
		q.Add("timeless", time.Time{})
		q.Add("a", first)
		q.Add("a", second)
		q.Add("a", time.Time{})
		q.Add("late", time.Time{})
		q.Add("late", second)
		want := []Change{{Name: "timeless"}, {"a", first}, {"late", second}}
		if got := q.Take(); !slices.Equal(got, want) {
			t.Errorf("took %v, want %v", got, want)
		}
		if got := q.Take(); len(got) != 0 {
			t.Errorf("took %v from an empty queue", got)
		}
	}
}

// The registry hands the time of a change on, and of what is no change, nothing.
func TestRegistryHandsTimesOn(t *testing.T) {
	r := New("/root")
	f, w := r.Follow(), writer(t, r)
	at := time.UnixMilli(1)
	w.Put(daemondir.Entry{Name: "a"}, at)
	w.Put(daemondir.Entry{Name: "b"}, time.Time{})
	if got, want := f.Take(), []Change{{"a", at}, {Name: "b"}}; !slices.Equal(got, want) {
		t.Errorf("took %v, want %v", got, want)
	}
	if w.Put(daemondir.Entry{Name: "a"}, at) || len(f.Take()) > 0 {
		t.Error("an equal entry is a change")
	}
}

// names takes what waits in a queue.
func names(q *Queue) (names []string) {
	for _, change := range q.Take() {
		names = append(names, change.Name)
	}
	return names
}

func writer(t *testing.T, r *Registry) *Writer {
	t.Helper()
	w, err := r.Write()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

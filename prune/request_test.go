package prune

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// decisions returns what was decided of each dir.
func (r Result) decisions() (all []string) {
	for _, row := range r.Rows {
		all = append(all, fmt.Sprintf("%s %s", row.Name, row.Decision))
	}
	slices.Sort(all)
	return all
}

func (b *bench) request(r Request, want ...string) Result {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	result, err := b.SweepAndWait(ctx, r)
	if err != nil {
		b.t.Fatal(err)
	}
	if got := result.decisions(); !slices.Equal(got, want) {
		b.t.Fatalf("%+v: %q, want %q: %+v", r, got, want, result.Rows)
	}
	return result
}

// A request comes to the dirs of those names only, goes by its own time if it has one, and
// returns what was done. It is no sweep of the root.
func TestRequestByName(t *testing.T) {
	b := running(t, Options{SweepInterval: time.Hour, Protect: []string{"protected"}})
	daemondirtest.MakeLive(t, b.root, "live")
	b.scan()
	b.synced()
	b.request(Request{}, "live refresh")
	sweeps := b.Totals().Sweeps
	young := daemondirtest.MakeDead(t, b.root, "young", 30*time.Minute)
	interrupted := func(name string) daemondirtest.Dir {
		d := daemondirtest.MakeDead(t, b.root, name, 2*time.Hour)
		hidden := d
		hidden.Name = daemondir.QuarantinePrefix + name
		if err := os.Rename(d.Path(), hidden.Path()); err != nil {
			t.Fatal(err)
		}
		return hidden
	}
	left, otherLeft := interrupted("left"), interrupted("other")
	other := daemondirtest.MakeDead(t, b.root, "other", 2*time.Hour)
	protected := daemondirtest.MakeDead(t, b.root, "protected", 2*time.Hour)
	for _, d := range []daemondirtest.Dir{young, other, protected, left, otherLeft} {
		b.put(entryOf(t, d))
	}
	b.request(Request{Names: []string{"young", "young", "live", "protected", "nobody"}},
		"live refresh", "protected keep", "young keep")
	more := interrupted("more")
	b.put(entryOf(t, more))
	result := b.request(Request{Names: []string{"young", "left", ".pruned-more"}, StaleAfter: time.Minute},
		".pruned-left remove", ".pruned-more remove", "young remove")
	if result.Removed != 3 || result.Checked != 3 {
		t.Errorf("%+v", result.Stats)
	}
	if young.Exists() || left.Exists() || more.Exists() || !other.Exists() || !protected.Exists() || !otherLeft.Exists() {
		t.Errorf("young %v, left %v, other %v, protected %v, its leftover %v",
			young.Exists(), left.Exists(), other.Exists(), protected.Exists(), otherLeft.Exists())
	}
	if n := b.Totals().Sweeps; n != sweeps {
		t.Errorf("%d sweeps more", n-sweeps)
	}
	if lines := b.log.Events("sweep.done"); lines[len(lines)-1]["partial"] != true {
		t.Errorf("logged %v", lines)
	}
	if _, err := b.SweepAndWait(t.Context(), Request{StaleAfter: -1}); err == nil {
		t.Error("a negative time was accepted")
	}
	// What sweeps at the interval go by has not changed.
	daemondirtest.MakeDead(t, b.root, "young", 30*time.Minute)
	b.put(entryOf(t, young))
	b.request(Request{Names: []string{"young"}}, "young keep")
}

// Without names, a request is a sweep over the root.
func TestRequestOfAll(t *testing.T) {
	b := running(t, Options{SweepInterval: time.Hour})
	daemondirtest.MakeLive(t, b.root, "live")
	b.scan()
	b.synced()
	b.request(Request{}, "live refresh")
	sweeps := b.Totals().Sweeps
	b.put(entryOf(t, daemondirtest.MakeDead(t, b.root, "stale", 2*time.Hour)))
	b.put(entryOf(t, daemondirtest.MakeDead(t, b.root, "young", 30*time.Minute)))
	b.request(Request{}, "live refresh", "stale remove", "young keep")
	if n := b.Totals().Sweeps; n != sweeps+1 {
		t.Errorf("%d sweeps more, want 1", n-sweeps)
	}
	b.request(Request{}, "live refresh", "young keep")
}

// A request waits until the root has been read: before, its dirs would be unknown.
func TestRequestBeforeTheScan(t *testing.T) {
	b := running(t, Options{SweepInterval: time.Hour})
	daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if result, err := b.SweepAndWait(ctx, Request{Names: []string{"a"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%+v, %v", result, err)
	}
	done := make(chan Result, 1)
	go func() {
		result, _ := b.SweepAndWait(t.Context(), Request{Names: []string{"a"}, StaleAfter: time.Hour})
		done <- result
	}()
	b.scan()
	b.synced()
	if result := <-done; len(result.Rows) > 1 {
		t.Errorf("%+v", result)
	}
}

// Whoever waits when Run ends is answered.
func TestRequestAtTheEnd(t *testing.T) {
	b := newBench(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx, watcherByHand{b.reg}) }()
	asked := &request{Request: Request{Names: []string{"a"}}, result: make(chan Result, 1)}
	b.requests <- asked // it waits, since the root is never read
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	select {
	case _, ok := <-asked.result:
		if ok {
			t.Error("it was answered by a sweep")
		}
	default:
		t.Error("it was not answered")
	}
	// Nobody takes a request now.
	if result, err := b.SweepAndWait(ctx, Request{}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %+v, %v", result, err)
	}
}

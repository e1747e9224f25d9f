package watcher

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// A root that reports no changes is listed when its mtime has changed, and now and then. Only what
// has come or gone is read for that.
func TestListReadsTheDifference(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "stays", 1)
	spawn(t, root, "goes", 1)
	s := undrained(t, root)
	s.opts.PollInterval = time.Hour
	s.watches.eventless = "nfs"
	listed := func(when string, want ...string) {
		t.Helper()
		s.list()
		s.poll.rest = time.Time{}
		if got := slices.Sorted(slices.Values(names(s.pending.names))); !slices.Equal(got, want) {
			t.Errorf("%s: reads %q, want %q", when, got, want)
		}
	}
	s.scan(t.Context())
	listed("as it was scanned")
	removeAll(t, filepath.Join(root, "goes"))
	spawn(t, root, "comes", 1)
	listed("changed", "comes", "goes")

	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(root, old, old); err != nil {
		t.Fatal(err)
	}
	listed("another mtime", "comes", "goes")
	listed("the same mtime")
	s.poll.listed = s.poll.listed.Add(-retryAfter * s.opts.PollInterval)
	listed("long ago", "comes", "goes")
	s.poll.rest = time.Now().Add(time.Hour)
	if err := os.Chtimes(root, old.Add(time.Second), old); err != nil {
		t.Fatal(err)
	}
	s.list()
	if got := names(s.pending.names); len(got) > 0 {
		t.Errorf("it must rest, and reads %q", got)
	}
}

// The kernel is asked for what it has refused at each tenth poll only: it may be asked for
// thousands of dirs.
func TestRetryNowAndThen(t *testing.T) {
	s := undrained(t, newRoot(t))
	for n := range 3 * retryAfter {
		s.watches.full = true
		if s.retryWatches() {
			t.Error("a new session for the sake of an instance that there is")
		}
		if retried := !s.watches.full; retried != (n%retryAfter == retryAfter-1) {
			t.Errorf("poll %d: retried is %v", n+1, retried)
		}
	}
}

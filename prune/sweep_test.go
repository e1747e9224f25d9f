package prune

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// manyStale returns a bench whose root has n stale dirs.
func manyStale(t *testing.T, n int) *bench {
	t.Helper()
	// Even on one processor. The watch of the tests may have it at one.
	was := runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(max(was, 2))
	t.Cleanup(func() { runtime.GOMAXPROCS(was) })
	b := newBenchIn(t, daemondirtest.MemoryDir(t), Options{})
	for i := range n {
		daemondirtest.MakeDead(t, b.root, fmt.Sprintf("stale-%d", i), 2*time.Hour)
	}
	return b
}

// A single pass that has much to remove has several workers, each of which looks as closely.
func TestRemovedSideBySide(t *testing.T) {
	const n = 10 * perWorker
	b := manyStale(t, n)
	protected := daemondirtest.MakeDead(t, b.root, "protected", 2*time.Hour)
	if _, err := daemondir.Protect(b.root, protected.Name); err != nil {
		t.Fatal(err)
	}
	live, _ := daemondirtest.MakeLive(t, b.root, "live")
	kept := []daemondirtest.Dir{protected, live}
	if !portable { // else it does not look for what it has open itself
		open := daemondirtest.MakeDead(t, b.root, "open", 2*time.Hour)
		f, err := os.Open(open.Sidecar())
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		kept = append(kept, open)
	}
	b.scan()

	// One that is about to be removed waits for another.
	var judged atomic.Int32
	two := make(chan struct{})
	b.reached = func(step string) {
		if step != "judged" {
			return
		}
		switch judged.Add(1) { // the first is removed before there are several workers
		case 2:
			select {
			case <-two:
			case <-time.After(daemondirtest.Patience):
				t.Error("no other dir is removed meanwhile")
			}
		case 3:
			close(two)
		}
	}
	processors := runtime.GOMAXPROCS(0)
	result, err := b.Sweep(t.Context(), nil)
	if now := runtime.GOMAXPROCS(0); now != processors {
		t.Errorf("of %d processors, it leaves %d", processors, now)
	}
	if err != nil || result.Removed != n || result.Kept+result.Refreshed != len(kept) || result.Failed != 0 || len(result.Rows) != n+len(kept) {
		t.Errorf("%+v, %d rows, %v", result.Stats, len(result.Rows), err)
	}
	left, err := os.ReadDir(b.root)
	if err != nil || len(left) != len(kept) {
		t.Errorf("left are %v, %v", left, err)
	}
	for _, d := range kept {
		if !d.Exists() {
			t.Errorf("%s was removed", d.Name)
		}
	}
	b.wantEvents("daemon.removed", n)
}

// A single pass that is interrupted finishes what each worker has in hand.
func TestSideBySideIsInterrupted(t *testing.T) {
	const n = 10 * perWorker
	b := manyStale(t, n)
	b.scan()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var judged atomic.Int32
	b.reached = func(step string) {
		if step == "judged" && judged.Add(1) == n/2 {
			cancel()
		}
	}
	removed := make(map[string]bool)
	result, err := b.Sweep(ctx, func(r Row) { removed[r.Name] = r.Decision == Remove })
	if err != nil || result.Removed < n/2 || result.Removed > n/2+maxWorkers || result.Removed != len(removed) {
		t.Fatalf("%+v, %d rows, %v", result.Stats, len(removed), err)
	}
	left, err := os.ReadDir(b.root)
	if err != nil || len(left) != n-len(removed) {
		t.Errorf("%d are left of %d, %v", len(left), n-len(removed), err)
	}
	for _, dir := range left {
		if !strings.HasPrefix(dir.Name(), "stale-") || removed[dir.Name()] {
			t.Errorf("%q is left", dir.Name())
		}
	}
}

// A worker that cannot have its own descriptors of the root is not had.
func TestAnotherWorker(t *testing.T) {
	b := newBench(t, Options{})
	w := &worker{Collector: b.Collector, staleAfter: time.Hour}
	defer w.close()
	if _, ok := w.another(); ok {
		t.Error("there is another before it has looked for users")
	}
	if _, err := w.openRemover(); err != nil {
		t.Fatal(err)
	}
	other, ok := w.another()
	if !ok {
		t.Fatal("there is no other")
	}
	defer other.close()
	if other.remover.root == w.remover.root || !other.remover.usersAt.Equal(w.remover.usersAt) {
		t.Errorf("it has %+v of %+v", other.remover, w.remover)
	}
	if runtime.GOOS == "windows" {
		return // what is open is not renamed there
	}
	if err := os.Rename(b.root, b.root+"-away"); err != nil {
		t.Fatal(err)
	}
	if _, ok := w.another(); ok {
		t.Error("there is another in a root that is gone")
	}
	if err := os.Mkdir(b.root, 0o755); err != nil {
		t.Fatal(err)
	}
	if other, ok := w.another(); ok {
		other.close()
		t.Error("there is another in another root")
	}
}

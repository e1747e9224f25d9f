package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Spawns, respawns, kills, zombies, failed spawns and cleanups by others, all at once
// and in any order, must end in exactly the true state: each live daemon with its dir
// as its spawner left it, and nothing else in the root. On the way no live daemon's
// dir may be removed.
func TestStorm(t *testing.T) {
	t.Parallel()
	seed := seedOr(t, 20240607)
	workers, names, steps := 4, 8, 100
	if os.Getenv("GCTEST_LONG") != "" {
		names, steps = 20, 5000
	}
	root := runtimeRoot(t)
	st := &storm{spawner: newSpawner(t, root), living: make(map[string]*daemon), killed: make(map[int]time.Time)}
	w := startWatch(t, root, "--stale-after", stormStaleAfter.String(), "--sweep-interval", "50ms")
	w.next("root.found", "")

	var running sync.WaitGroup
	for worker := range workers {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(worker)))
			for range steps {
				st.step(rng, fmt.Sprintf("w%d-%d", worker, rng.IntN(names)))
			}
		})
	}
	over := make(chan struct{})
	go func() {
		running.Wait()
		close(over)
	}()
	for raging := true; raging; {
		listJSON(t, root) // must work beside it, whatever vanishes while it reads
		select {
		case <-over:
			raging = false
		case <-time.After(500 * time.Millisecond):
		}
	}

	st.mustBecomeTrue(t, root)
	st.mustBeTold(t, w)
	last := w.stop(syscall.SIGTERM)
	if got := int(last.number("daemons")); got != len(st.living) {
		t.Errorf("the watch knows %d daemons, want %d", got, len(st.living))
	}
	st.mustBeUnharmed(t, w)
	t.Logf("%d spawns, %d of them hit by a removal and done again; %d living at the end; %d removals",
		len(st.killed)+len(st.living), st.failed, len(st.living), len(w.all("daemon.removed", "")))
	if t.Failed() {
		t.Logf("again with GCTEST_SEED=%d", seed)
	}
}

package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// While spawns, respawns, kills, zombies and cleanups go on, the times are changed again
// and again, and wrongly at times. Each change that is right takes effect, and none
// costs a daemon anything.
func TestReloadDuringStorm(t *testing.T) {
	t.Parallel()
	workers, names, steps := 4, 8, 60
	if os.Getenv("GCTEST_LONG") != "" {
		names, steps = 20, 3000
	}
	root := runtimeRoot(t)
	config := newDaemonTOML(t)
	config.set(3600, 3600)
	st := &storm{spawner: newSpawner(t, root), living: make(map[string]*daemon), killed: make(map[int]time.Time)}
	w := startWatch(t, root, "--config", config.path)
	w.next("root.found", "")

	var running sync.WaitGroup
	for worker := range workers {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(20240608, uint64(worker)))
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

	daemondirtest.Eventually(t, "some daemons are dead", func() bool { return len(w.all("daemon.exited", "")) > 10 })
	config.set(1, 1)
	first := w.hangup("config.reloaded")
	for key, want := range map[string]int64{
		"previous_sweep_interval_ms": 3_600_000, "sweep_interval_ms": 1000, "previous_stale_after_ms": 3_600_000, "stale_after_ms": 1000,
	} {
		if first.number(key) != want {
			t.Errorf("want %s %d: %s", key, want, first.line)
		}
	}
	for n, raging := 0, true; raging || n < 4; n++ {
		switch n % 4 {
		case 0:
			config.set(1, 2)
			if e := w.hangup("config.reloaded"); e.number("stale_after_ms") != 2000 || e.has("sweep_interval_ms") {
				t.Errorf("want only stale_after_ms, 2000: %s", e.line)
			}
		case 1:
			config.write("runtime_gc_stale_after_secs = \"" + secret + "\"")
			w.hangup("config.invalid")
		case 2:
			config.set(1, 2)
			if e := w.hangup("config.reloaded"); e.has("stale_after_ms") {
				t.Errorf("nothing has changed: %s", e.line)
			}
		case 3:
			config.set(1, 1)
			w.hangup("config.reloaded")
		}
		select {
		case <-over:
			raging = false
		case <-time.After(50 * time.Millisecond):
		}
	}
	config.set(1, 1)
	w.hangup("config.reloaded")

	st.mustBecomeTrue(t, root)
	st.mustBeTold(t, w)
	w.stop(syscall.SIGTERM)
	st.mustBeUnharmed(t, w)
	removals := w.all("daemon.removed", "")
	for _, e := range removals {
		if e.time.Before(first.time) {
			t.Errorf("removed before stale-after was changed from an hour: %s", e.line)
		}
	}
	if len(removals) == 0 {
		t.Error("the change had no effect: nothing was removed")
	}
	t.Logf("%d spawns, %d living at the end, %d removals, %d reloads", len(st.killed)+len(st.living), len(st.living),
		len(removals), len(w.all("config.reloaded", "")))
}

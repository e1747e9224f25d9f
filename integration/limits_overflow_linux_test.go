package integration

// More events than the kernel's queue holds, for the program as it is built: it is
// stopped while they come, and what it then says must be the truth on disk.

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// resynced waits until every overflow that was said has been made good, and returns
// the last registry.resynced.
func resynced(t *testing.T, w *watchProcess) event {
	t.Helper()
	var last event
	daemondirtest.Eventually(t, "registry.resynced follows events.overflow", func() bool {
		open := false
		for _, e := range w.all("", "") {
			switch e.event {
			case "events.overflow":
				open = true
			case "registry.resynced":
				open, last = false, e
			}
		}
		return last.event != "" && !open
	})
	return last
}

// A watch that cannot keep up, here for being stopped, loses the events of dirs that
// appear and of dirs that vanish. All must be known soon after, and none left over.
func TestOverflowOfTheBinary(t *testing.T) {
	t.Parallel()
	n := 1500 // with two lines each, of which some 4,000 may wait for us to read them
	if os.Getenv("GCTEST_LONG") != "" {
		n = 30_000
	}
	root := memoryRoot(t)
	s := newSpawner(t, root)
	w := startWatch(t, root)
	w.next("root.found", "")
	w.next("sweep.done", "")
	f := follow(w)
	text := daemondirtest.Sidecar(time.Now(), time.Now())

	on := pause(t, w, func() {
		if n <= queueLength(t) {
			flood(t, root)
		}
		for i := range n {
			s.leave(fmt.Sprintf("d%05d", i), text, noProcess)
		}
	})
	w.next("events.overflow", "")
	e := resynced(t, w)
	f.mustReach(t, root, nobodyLives)
	t.Logf("%d dirs: registry.resynced %v after SIGCONT, the last daemon.added %v after",
		n, e.time.Sub(on).Round(time.Millisecond), f.last.Sub(on).Round(time.Millisecond))
	if e.number("daemons") != int64(n) {
		t.Errorf("want %d daemons: %s", n, e.line)
	}
	if took := e.time.Sub(on); took > generous {
		t.Errorf("it took %v until the registry was the truth again", took)
	}

	on = pause(t, w, func() {
		if n <= queueLength(t) {
			flood(t, root)
		}
		for i := range n {
			noError(t, s.cleanup(fmt.Sprintf("d%05d", i)))
		}
	})
	w.next("events.overflow", "")
	f.mustReach(t, root, nobodyLives)
	e = resynced(t, w)
	t.Logf("%d dirs gone: registry.resynced %v after SIGCONT, the last daemon.gone %v after",
		n, e.time.Sub(on).Round(time.Millisecond), f.last.Sub(on).Round(time.Millisecond))
	if e.number("daemons") != 0 {
		t.Errorf("want no daemons: %s", e.line)
	}
	s.leave("after", daemondirtest.Sidecar(time.Now(), time.Now()), strconv.Itoa(bystander(t, "/")))
	w.next("daemon.live", "after")
	if last := w.stop(syscall.SIGTERM); last.number("daemons") != 1 {
		t.Errorf("want 1 daemon: %s", last.line)
	}
	w.never("daemon.removed", "")
	w.never("watch.degraded", "")
}

// One overflow may follow while the last is being made good, and dirs come, go, are
// swapped and made again meanwhile: the end must be the truth, and every dir watched.
func TestOverflowAgainAndAgain(t *testing.T) {
	t.Parallel()
	rounds, steps := 6, 150
	if os.Getenv("GCTEST_LONG") != "" {
		rounds, steps = 60, 2000
	}
	root := memoryRoot(t)
	s := newSpawner(t, root)
	w := startWatch(t, root)
	w.next("root.found", "")
	f := follow(w)
	rng := rand.New(rand.NewPCG(4, 2))
	text := daemondirtest.Sidecar(time.Now(), time.Now())
	there := make(map[string]bool)
	churn := func() {
		for range steps {
			name, other := fmt.Sprintf("d%03d", rng.IntN(2*steps)), fmt.Sprintf("d%03d", rng.IntN(2*steps))
			switch p := rng.IntN(100); {
			case !there[name] || p < 20:
				s.leave(name, text, noProcess)
				there[name] = true
			case p < 60:
				noError(t, s.cleanup(name))
				delete(there, name)
			case p < 80: // removed and made again
				noError(t, s.cleanup(name))
				s.leave(name, text, noProcess)
			case there[other] && other != name:
				swapDirs(t, s, name, other)
			}
		}
	}
	for round := range rounds {
		said := len(w.all("events.overflow", ""))
		pause(t, w, func() {
			churn()
			flood(t, root)
			churn()
		})
		churn() // while it reads again
		// Stopped between two sessions it has lost nothing, and says nothing.
		within(500*time.Millisecond, func() bool { return len(w.all("events.overflow", "")) > said })
		if round%2 == 1 {
			f.mustReach(t, root, nobodyLives)
		}
	}
	resynced(t, w)
	// The truth is reached, whatever was said of a dir that was another for a moment.
	f.mustReach(t, root, nobodyLives)
	overflows := len(w.all("events.overflow", ""))
	t.Logf("%d overflows, said to be made good %d times", overflows, len(w.all("registry.resynced", "")))
	if overflows < 2 {
		t.Errorf("%d overflows in %d rounds: nothing was tested", overflows, rounds)
	}

	// Every dir is watched: each change is noticed, with no sweep to help.
	names := slices.Sorted(maps.Keys(there))
	pid := strconv.Itoa(bystander(t, "/"))
	fresh := daemondirtest.Sidecar(time.Now(), time.Now())
	for _, name := range names {
		s.leave(name, fresh, pid)
	}
	for _, name := range names {
		w.next("daemon.live", name)
	}
	if last := w.stop(syscall.SIGTERM); last.number("daemons") != int64(len(there)) {
		t.Errorf("want %d daemons: %s", len(there), last.line)
	}
	w.never("daemon.removed", "")
	w.never("watch.degraded", "")
}

// swapDirs exchanges two dirs by renames; each then has a sidecar of its name again.
func swapDirs(t *testing.T, s *spawner, a, b string) {
	t.Helper()
	aside := filepath.Join(filepath.Dir(s.root), "aside")
	for _, move := range [][2]string{
		{s.dir(a), aside}, {s.dir(b), s.dir(a)}, {aside, s.dir(b)},
		{filepath.Join(s.dir(a), b+".daemon.json"), s.sidecar(a)},
		{filepath.Join(s.dir(b), a+".daemon.json"), s.sidecar(b)},
	} {
		noError(t, os.Rename(move[0], move[1]))
	}
}

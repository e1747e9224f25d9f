package integration

// Many exits at once.

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// pidfds returns how many pidfds a process holds.
func pidfds(pid int) int {
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	n := 0
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.Contains(target, "pidfd") {
			n++
		}
	}
	return n
}

// A machine's daemons may all die in one instant. Each is told exactly once, with when
// its dir becomes removable, at once; and those that no descriptor is left for by the
// next sweep.
func TestManyExitsAtOnce(t *testing.T) {
	t.Parallel()
	const n = 200
	for _, test := range []struct {
		name     string
		interval time.Duration
		start    func(t *testing.T, root string, args ...string) *watchProcess
		fits     bool // a pidfd for each
	}{
		{"announced", time.Hour, startWatch, true},
		{"by the sweep", 400 * time.Millisecond, func(t *testing.T, root string, args ...string) *watchProcess {
			return startWatchLimited(t, 200, root, args...)
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			root := memoryRoot(t)
			s := newSpawner(t, root)
			w := test.start(t, root, "--sweep-interval", test.interval.String())
			w.next("root.found", "")
			w.next("sweep.done", "")
			c := newCats(t)
			t.Cleanup(func() { c.release(); c.reap() })
			pids := make(map[string]int)
			now := time.Now()
			// Without the time of the spawn: to start that many may take longer than a start may
			// be off.
			text := daemondirtest.Sidecar(time.Time{}, now)
			for i := range n {
				name := fmt.Sprintf("d%03d", i)
				pids[name] = c.start()
				s.leave(name, text, strconv.Itoa(pids[name]))
			}
			awaitMany(t, w, "daemon.live", 0, n)
			held := pidfds(w.cmd.Process.Pid)
			if test.fits != (held == n) || held == 0 {
				t.Errorf("%d pidfds for %d daemons, want one for each: %v", held, n, test.fits)
			}
			killed := time.Now()
			c.kill()
			awaitMany(t, w, "daemon.exited", 0, n)
			var took []time.Duration
			for _, e := range w.all("daemon.exited", "") {
				took = append(took, e.time.Sub(killed))
				if e.number("pid") != int64(pids[e.daemon]) {
					t.Errorf("want pid %d: %s", pids[e.daemon], e.line)
				}
				// All of stale-after from when the exit was noticed.
				stale, first, last := e.number("stale_at_unix_ms"), killed.Add(6*time.Hour), e.time.Add(6*time.Hour)
				if stale < first.UnixMilli() || stale > last.UnixMilli() {
					t.Errorf("want stale_at_unix_ms from %d to %d: %s", first.UnixMilli(), last.UnixMilli(), e.line)
				}
			}
			slices.Sort(took)
			t.Logf("%d of %d by pidfd; kill to daemon.exited: median %v, last %v", held, n, took[len(took)/2], took[len(took)-1])
			c.release()
			c.reap() // zombies no more, which is nothing new
			s.leave("last", text, noProcess)
			w.next("daemon.exited", "last")
			if !test.fits {
				w.sweeps(1)
			}
			w.stop(syscall.SIGTERM)
			for name := range pids {
				loggedTimes(t, w, 1, "daemon.live", name)
				loggedTimes(t, w, 1, "daemon.exited", name)
			}
			if left := len(w.all("daemon.exited", "")); left != n+1 {
				t.Errorf("daemon.exited was said %d times of %d daemons", left, n+1)
			}
		})
	}
}

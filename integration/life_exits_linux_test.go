package integration

// Many exits at once.

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// cats are cheap daemons: a process group of cats that wait for the end of a pipe.
type cats struct {
	t    *testing.T
	hold *os.File // its closing ends them all
	read *os.File
	pgid int
	all  []*exec.Cmd
}

// newCats returns none yet; what it starts is gone at the end of the test.
func newCats(t *testing.T) *cats {
	t.Helper()
	c := &cats{t: t}
	var err error
	if c.read, c.hold, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	return c
}

// start starts one and returns its pid.
func (c *cats) start() int {
	c.t.Helper()
	cmd := exec.Command("cat")
	cmd.Stdin = c.read
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: c.pgid}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	if c.pgid == 0 {
		c.pgid = cmd.Process.Pid
	}
	c.all = append(c.all, cmd)
	return cmd.Process.Pid
}

// release ends them by the end of their input.
func (c *cats) release() {
	c.read.Close()
	c.hold.Close()
}

// reap waits for those that have ended.
func (c *cats) reap() {
	for _, cmd := range c.all {
		cmd.Wait()
	}
	c.all = nil
}

// kill kills them all by one signal.
func (c *cats) kill() {
	if err := syscall.Kill(-c.pgid, syscall.SIGKILL); err != nil {
		c.t.Error(err)
	}
}

// awaitMany waits until n events of that kind were logged since the event of index
// from.
func awaitMany(t *testing.T, w *watchProcess, kind string, from, n int) {
	t.Helper()
	deadline := time.After(patience)
	for seen := 0; ; {
		w.mu.Lock()
		for ; from < len(w.events); from++ {
			if w.events[from].event == kind {
				seen++
			}
		}
		more, ended := w.more, w.ended
		w.mu.Unlock()
		if seen >= n {
			return
		}
		if ended {
			t.Fatalf("the watch ended at %d of %d %s", seen, n, kind)
		}
		select {
		case <-more:
		case <-deadline:
			t.Fatalf("only %d of %d %s within %v", seen, n, kind, patience)
		}
	}
}

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
			text := sidecarText(t, time.Time{}, now)
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
				stale := e.number("stale_at_unix_ms")
				if first := now.Add(6 * time.Hour).UnixMilli(); stale < first || test.fits && stale != first {
					t.Errorf("want stale_at_unix_ms %d: %s", first, e.line)
				}
			}
			slices.Sort(took)
			t.Logf("%d of %d by pidfd; kill to daemon.exited: median %v, last %v", held, n, took[len(took)/2], took[len(took)-1])
			c.release()
			c.reap() // zombies no more, which is nothing new
			s.leave("last", text, noProcess)
			w.next("daemon.added", "last")
			if !test.fits {
				w.sweeps(1)
			}
			w.stop(syscall.SIGTERM)
			for name := range pids {
				saidTimes(t, w, 1, "daemon.live", name)
				saidTimes(t, w, 1, "daemon.exited", name)
			}
			if left := len(w.all("daemon.exited", "")); left != n {
				t.Errorf("daemon.exited was said %d times of %d daemons", left, n)
			}
		})
	}
}

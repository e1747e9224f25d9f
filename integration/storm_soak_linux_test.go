package integration

// A week in miniature: what is not given back adds up.

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

// soakCyclesEnv is the number of cycles of the soak, if it is not to be the usual.
const soakCyclesEnv = "GCTEST_SOAK"

// footprint is what a process holds.
type footprint struct {
	rssKB, threads, fds, watches int
}

func (f footprint) String() string {
	return fmt.Sprintf("%d KiB, %d threads, %d descriptors, %d watches", f.rssKB, f.threads, f.fds, f.watches)
}

func footprintOf(t *testing.T, pid int) footprint {
	t.Helper()
	var f footprint
	var err error
	if f.rssKB, err = strconv.Atoi(strings.TrimSuffix(procStatus(t, pid, "VmRSS"), " kB")); err != nil {
		t.Fatal(err)
	}
	if f.threads, err = strconv.Atoi(procStatus(t, pid, "Threads")); err != nil {
		t.Fatal(err)
	}
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	f.fds = len(infos)
	for _, path := range infos {
		if text, err := os.ReadFile(path); err == nil {
			f.watches += strings.Count(string(text), "inotify wd:")
		}
	}
	return f
}

// told is how often each event was in the part of a log that was dropped, but for what other
// tests beside this one bring about.
type told struct {
	count map[string]int
	lines map[string][]event // of the daemons that are there
}

// forgetLog drops the log that was read so far, and counts it.
func (w *watchProcess) forgetLog(so *told) {
	for _, e := range w.takeLog() {
		if e.daemon != "" {
			so.lines[e.daemon] = append(so.lines[e.daemon], e)
		}
		switch {
		case e.event == "daemon.removed":
			delete(so.lines, e.daemon)
		case e.event != "daemon.kept":
		case !slices.ContainsFunc(so.lines[e.daemon], func(e event) bool { return e.event == "daemon.live" }):
			continue // this test had no processor for so long that a dir was stale before it had all its files
		case e.reason == "in_use":
			continue // by a child of this test, which has what it has open until its exec
		case e.reason == "changed" && strings.Contains(e.line, "users were looked for"):
			continue // another test has mounted something meanwhile
		default:
			for _, e := range so.lines[e.daemon] {
				w.t.Log(e.line)
			}
		}
		so.count[e.event]++
	}
}

// A daemon that is born, dies and is removed must leave nothing in the watch: no
// memory, no descriptor, no thread, no watch. And each of them is told, once.
func TestSoak(t *testing.T) {
	t.Parallel()
	cycles, batch, stale := 160, 20, time.Second
	if os.Getenv("GCTEST_LONG") != "" {
		cycles, batch = 100_000, 100
	}
	if given := os.Getenv(soakCyclesEnv); given != "" {
		var err error
		if cycles, err = strconv.Atoi(given); err != nil {
			t.Fatalf("%s: %v", soakCyclesEnv, err)
		}
		batch = min(100, max(1, cycles/8))
	}
	root := memoryRoot(t)
	s := newSpawner(t, root)
	w := startWatch(t, root, "--stale-after", stale.String(), "--sweep-interval", "100ms", "--log-level", "debug")
	pid := w.cmd.Process.Pid
	w.next("root.found", "")
	so := &told{make(map[string]int), make(map[string][]event)}
	// settle waits until nothing is left of all cycles, and measures.
	settle := func() footprint {
		t.Helper()
		daemondirtest.Eventually(t, "all dirs are removed", func() bool {
			left, err := os.ReadDir(root)
			return err == nil && len(left) == 0
		})
		// The disk is ahead of the registry, which hears of a removal as of any change.
		for w.next("sweep.done", "").number("checked") != 0 {
		}
		var f footprint
		daemondirtest.Eventually(t, "all watches are taken down", func() bool {
			f = footprintOf(t, pid)
			return f.watches == 2 // the root, and what holds it
		})
		w.forgetLog(so)
		return f
	}
	run := func(first int) {
		t.Helper()
		c := newCats(t)
		defer func() { c.release(); c.reap() }()
		for i := range batch {
			cat := c.start()
			s.leave(fmt.Sprintf("d%d", first+i), daemondirtest.Sidecar(time.Now(), time.Now()), strconv.Itoa(cat))
		}
		awaitMany(t, w, "daemon.live", 0, batch)
		if first/batch%2 == 0 {
			c.release()
			c.reap()
		} else { // zombies for a moment
			c.kill()
		}
		awaitMany(t, w, "daemon.exited", 0, batch)
		w.forgetLog(so)
	}

	done, began := 0, time.Now()
	part := func(until int) footprint {
		for ; done < until; done += batch {
			run(done)
		}
		return settle()
	}
	// The first cycles start what is started once.
	base := part(batch)
	quarter := part(cycles / 4)
	end := part(cycles)
	t.Logf("%d cycles in %v", done, time.Since(began).Round(time.Second))
	for when, f := range map[string]footprint{"at first": base, "after a quarter": quarter, "at the end": end} {
		t.Logf("%s: %v", when, f)
	}
	if end.watches != base.watches || end.fds > base.fds {
		t.Errorf("from %v to %v: it does not give back all it takes", base, end)
	}
	if end.threads > quarter.threads+8 {
		t.Errorf("from %d to %d threads", quarter.threads, end.threads)
	}
	if end.rssKB > 2*quarter.rssKB+16<<10 {
		t.Errorf("from %d to %d KiB", quarter.rssKB, end.rssKB)
	}
	if last := w.stop(syscall.SIGTERM); last.number("daemons") != 0 || last.number("removed") != int64(done) {
		t.Errorf("want no daemons, %d removed: %s", done, last.line)
	}
	w.forgetLog(so)
	for _, kind := range []string{"daemon.added", "daemon.live", "daemon.exited", "daemon.removed"} {
		if so.count[kind] != done {
			t.Errorf("%s was said %d times of %d daemons", kind, so.count[kind], done)
		}
	}
	for _, kind := range []string{"daemon.gone", "daemon.kept", "sidecar.invalid", "sidecar.unwritable", "events.overflow", "watch.degraded", "root.lost"} {
		if so.count[kind] != 0 {
			t.Errorf("%s was said %d times", kind, so.count[kind])
		}
	}
}

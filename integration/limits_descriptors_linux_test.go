package integration

// Too few descriptors: at the start, at the moment of a birth, and at any moment.

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// limitFiles lets w open k more files, or as many as it likes if k is negative.
func limitFiles(w *watchProcess, k int) {
	w.t.Helper()
	pid := w.cmd.Process.Pid
	var limit unix.Rlimit
	noError(w.t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limit))
	if limit.Cur = limit.Max; k >= 0 {
		for limit.Cur = 0; k > 0 || isOpen(pid, limit.Cur); limit.Cur++ {
			if !isOpen(pid, limit.Cur) {
				k--
			}
		}
	}
	noError(w.t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil))
}

func isOpen(pid int, fd uint64) bool {
	_, err := os.Lstat(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
	return err == nil
}

// A birth that cannot be read for a lack of descriptors, whichever of the three that it
// takes is missing, is a lack of descriptors and neither a broken sidecar nor a missing
// pid: it is said, and when they are back the daemon is found by nothing but the poll.
func TestBirthWithoutDescriptors(t *testing.T) {
	t.Parallel()
	for spare, missing := range []string{"the dir", "the sidecar", "the pid file"} {
		t.Run("none for "+missing, func(t *testing.T) {
			t.Parallel()
			root := runtimeRoot(t)
			s := newSpawner(t, root)
			pid := bystander(t, "/")
			// Without sweeps, which open files, too.
			w := startWatch(t, root, "--sweep-interval", "1h")
			w.next("root.found", "")
			w.next("sweep.done", "")
			limitFiles(w, spare)
			s.leave("d", daemondirtest.Sidecar(time.Now(), time.Now()), strconv.Itoa(pid))
			if !within(3*time.Second, func() bool { return len(w.all("watch.degraded", "")) > 0 }) {
				t.Error("it is not said that something is polled for a lack of descriptors")
			} else if e := w.next("watch.degraded", ""); e.reason != "open_files" {
				t.Errorf("want reason open_files: %s", e.line)
			}
			limitFiles(w, -1)
			// The poll comes every 30 s.
			if os.Getenv("GCTEST_LONG") != "" &&
				!within(45*time.Second, func() bool { return len(w.all("daemon.live", "d")) > 0 }) {
				t.Error("the daemon is not found to live when there are descriptors again")
			}
			w.stop(syscall.SIGTERM)
			w.never("sidecar.invalid", "")
		})
	}
}

// within says whether done says so in time.
func within(d time.Duration, done func() bool) bool {
	for deadline := time.Now().Add(d); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// Descriptors that run out and come back at any moment must not blind the questions
// that are asked before a removal: who uses the dir, and whether the daemon lives.
func TestDescriptorsComeAndGo(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	// Many, for the moment between the question and the last removal to be long.
	var logs []*os.File
	for i := range 20 {
		name := fmt.Sprintf("in-use-%d", i)
		s.leave(name, daemondirtest.Sidecar(ago(stale), time.Time{}), "")
		log, err := os.Create(filepath.Join(s.dir(name), "out.log"))
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		logs = append(logs, log)
	}
	user := bystander(t, "/", logs...)
	w := startWatch(t, root, "--sweep-interval", "10ms", "--stale-after", "200ms")
	for i := range logs {
		if e := w.next("daemon.kept", fmt.Sprintf("in-use-%d", i)); e.reason != "in_use" {
			t.Fatalf("want reason in_use: %s", e.line)
		}
	}
	pid := strconv.Itoa(bystander(t, "/"))
	s.leave("live", daemondirtest.Sidecar(time.Now(), time.Now()), pid)
	w.next("daemon.live", "live")
	// Something happens in its dir all the time, so that it is read all the time.
	touch := func() {
		t.Helper()
		noError(t, os.WriteFile(filepath.Join(s.dir("live"), "daemon.pid"), []byte(pid), 0o644))
	}
	length := 2 * time.Second
	if os.Getenv("GCTEST_LONG") != "" {
		length = time.Minute
	}
	for i, until := 0, time.Now().Add(length); time.Now().Before(until); i++ {
		limitFiles(w, max(0, i%8-3))
		time.Sleep(time.Duration(i%7) * time.Millisecond)
		limitFiles(w, -1)
		touch()
		time.Sleep(time.Duration(i%5) * time.Millisecond)
	}
	w.sweeps(3)
	touch()
	seen := len(w.all("sidecar.refreshed", "live"))
	daemondirtest.Eventually(t, "the live one is refreshed again", func() bool { return len(w.all("sidecar.refreshed", "live")) > seen })
	w.stop(syscall.SIGTERM)
	for _, e := range w.all("daemon.removed", "") {
		t.Errorf("pid %d has a file open in there, or it lives: %s", user, e.line)
	}
	w.never("daemon.exited", "live")
	w.never("sidecar.invalid", "")
}

// With too few descriptors for a pidfd of each daemon, or for any, exits are found by
// the sweep, which is said; nothing else is to be noticed.
func TestFewDescriptors(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{100, 32} {
		t.Run(strconv.Itoa(limit), func(t *testing.T) {
			t.Parallel()
			root := runtimeRoot(t)
			s := newSpawner(t, root)
			w := startWatchLimited(t, limit, root, "--sweep-interval", "200ms")
			w.next("root.found", "")
			var all []*daemon
			for i := range 60 {
				all = append(all, s.spawn(fmt.Sprintf("d%02d", i)))
			}
			// Never alive: a sweep between a spawn and a kill would refresh it.
			s.leave("due", daemondirtest.Sidecar(ago(stale), ago(stale)), noProcess)
			for _, d := range all {
				w.next("daemon.live", d.name)
				w.next("sidecar.refreshed", d.name)
			}
			w.next("daemon.removed", "due")
			for i, d := range all {
				if i%3 == 0 {
					d.kill()
					w.next("daemon.exited", d.name)
				}
			}
			daemondirtest.Eventually(t, "a sweep finds 40 live and 20 dead", func() bool {
				e := w.next("sweep.done", "")
				return e.number("alive") == 40 && e.number("dead") == 20
			})
			w.stop(syscall.SIGTERM)
			for i, d := range all {
				if i%3 != 0 {
					w.never("daemon.exited", d.name)
				}
				if err := d.complete(); err != nil {
					t.Error(err)
				}
			}
			mustOnlyLackHandles(t, w)
		})
	}
}

// mustOnlyLackHandles fails the test unless it was said once of each root that exits cannot be
// announced, and nothing else is amiss.
func mustOnlyLackHandles(t *testing.T, w *watchProcess) {
	t.Helper()
	roots := make(map[any]bool)
	for _, told := range warnings(w) {
		for _, e := range told {
			if e.event != "watch.degraded" || e.reason != "open_files" || e.number("unannounced") <= 0 || roots[e.fields["root"]] {
				t.Errorf("want one line about exits: %s", e.line)
			}
			roots[e.fields["root"]] = true
		}
	}
	if len(roots) == 0 {
		t.Error("it is not said that exits cannot be announced")
	}
	w.never("watch.restored", "")
}

// The roots of a process share its descriptors: what the pidfds of one take must be left for
// the births, refreshes and removals in another.
func TestFewDescriptorsForSeveralRoots(t *testing.T) {
	t.Parallel()
	var roots []*spawner
	file := filepath.Join(t.TempDir(), "runtimegc.prom")
	args := []string{"--sweep-interval", "1h", "--metrics-textfile", file}
	for range 4 {
		root := memoryRoot(t)
		s := newSpawner(t, root)
		s.leave("due", daemondirtest.Sidecar(ago(stale), ago(stale)), noProcess)
		roots = append(roots, s)
		args = append(args, "--root", root)
	}
	w := startWatchLimited(t, 256, args[5], append(args[:4:4], args[6:]...)...)
	for range roots {
		w.next("daemon.removed", "due")
	}
	pid := strconv.Itoa(bystander(t, "/"))
	text := daemondirtest.Sidecar(time.Time{}, time.Now())
	births := 480
	if raceEnabled {
		births = 200 // more than can have a pidfd
	}
	for i := range births {
		name := fmt.Sprintf("d%03d", i)
		roots[i%4].leave(name, text, pid)
		w.next("daemon.live", name)
	}
	held := pidfds(w.cmd.Process.Pid)
	if held < 64 || held > 128 {
		t.Errorf("%d of 256 descriptors are pidfds", held)
	}
	for range roots {
		w.next("watch.degraded", "")
	}
	w.stop(syscall.SIGTERM)
	mustOnlyLackHandles(t, w)
	text, err := os.ReadFile(file)
	noError(t, err)
	got := parseSamples(t, string(text))
	for _, s := range roots {
		root := `{root="` + s.root + `"}`
		if got["runtimegc_unannounced_exits"+root] <= 0 || got["runtimegc_watch_degraded"+root] != 1 {
			t.Errorf("%v exits are not announced, degraded %v", got["runtimegc_unannounced_exits"+root], got["runtimegc_watch_degraded"+root])
		}
	}
}

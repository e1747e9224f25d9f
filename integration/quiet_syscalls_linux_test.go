package integration

// What the watch asks of the system, by strace: nothing while nothing happens.

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// tracing is a strace of a running process.
type tracing struct {
	t    *testing.T
	cmd  *exec.Cmd
	path string
	log  daemondirtest.Log // of strace itself
}

// trace begins to trace all threads of pid.
func trace(t *testing.T, pid int, args ...string) *tracing {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	tr := &tracing{t: t, path: filepath.Join(t.TempDir(), "trace")}
	tr.cmd = exec.Command(strace, append(args, "-f", "-s", "64", "-o", tr.path, "-p", strconv.Itoa(pid))...)
	tr.cmd.Stderr = &tr.log
	tr.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := tr.cmd.Start(); err != nil {
		t.Skipf("strace: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		tr.cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		tr.cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	daemondirtest.Eventually(t, "strace is attached", func() bool {
		select {
		case <-ended:
			t.Skipf("strace: %s", tr.log.String())
		default:
		}
		return strings.Contains(tr.log.String(), "attached")
	})
	return tr
}

// stop ends the tracing and returns its lines, without the thread ids.
func (tr *tracing) stop() []string {
	tr.t.Helper()
	tr.cmd.Process.Signal(syscall.SIGINT)
	daemondirtest.Eventually(tr.t, "strace has ended", func() bool { return syscall.Kill(tr.cmd.Process.Pid, 0) != nil })
	text, err := os.ReadFile(tr.path)
	if err != nil {
		tr.t.Fatal(err)
	}
	var lines []string
	for line := range bytes.Lines(text) {
		_, call, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		lines = append(lines, strings.TrimSpace(call))
	}
	return lines
}

// called is the name of a system call at the start of a line; the end of one that was
// interrupted is none.
var called = regexp.MustCompile(`^(\w+)\(`)

// calls counts the system calls in a trace by name.
func calls(lines []string) map[string]int {
	count := make(map[string]int)
	for _, line := range lines {
		if m := called.FindStringSubmatch(line); m != nil {
			count[m[1]]++
		}
	}
	return count
}

// ofTheRuntime are the system calls that Go's scheduler makes by itself.
var ofTheRuntime = []string{
	"futex", "epoll_wait", "epoll_pwait", "epoll_pwait2", "nanosleep", "clock_nanosleep", "restart_syscall", "sched_yield",
	"madvise", "tgkill", "getpid", "rt_sigreturn", "rt_sigprocmask", "sigaltstack",
}

// deadDirs leaves n dirs of daemons that are dead.
func deadDirs(t *testing.T, s *spawner, n int) {
	t.Helper()
	text := daemondirtest.Sidecar(time.Now(), time.Now())
	for i := range n {
		s.leave(fmt.Sprintf("dead%04d", i), text, noProcess)
	}
}

// Between two sweeps a watch on which nothing happens does not run at all: an idle
// machine stays idle.
func TestIdleWatchMakesNoSystemCall(t *testing.T) {
	t.Parallel()
	if raceEnabled {
		t.Skip("a build with the race detector makes other calls, and nobody runs it")
	}
	root := memoryRoot(t)
	s := newSpawner(t, root)
	deadDirs(t, s, 200)
	crowd(t, s, 3, daemondirtest.Sidecar(time.Now(), time.Now()))
	w := startWatch(t, root, "--sweep-interval", "1h")
	awaitMany(t, w, "daemon.added", 0, 203)
	awaitMany(t, w, "sidecar.refreshed", 0, 3)
	w.next("sweep.done", "")
	// What the runtime does after work (giving back memory, a last look of its threads) comes
	// to an end: of some windows, one must be quiet. No window may have a call of ours.
	const windows = 8
	for i := 1; ; i++ {
		tr := trace(t, w.cmd.Process.Pid)
		time.Sleep(3 * time.Second) // the window that is looked at
		lines := tr.stop()
		count := calls(lines)
		total := 0
		for name, n := range count {
			total += n
			if !slices.Contains(ofTheRuntime, name) {
				t.Fatalf("%d calls of %s while idle:\n%s", n, name, tail(strings.Join(lines, "\n"), 3000))
			}
		}
		t.Logf("in 3 s: %v", count)
		// Each thread is seen in the call that it sleeps in, and may be woken by the attaching.
		threads, _ := strconv.Atoi(procStatus(t, w.cmd.Process.Pid, "Threads"))
		limit := 4*threads + 20
		if total <= limit {
			break
		}
		if i == windows {
			t.Fatalf("%d calls, want at most %d:\n%s", total, limit, tail(strings.Join(lines, "\n"), 3000))
		}
	}
	w.stop(syscall.SIGTERM)
}

// sweepCalls returns how many system calls a sweep of w makes, the Go runtime's own and the
// debug log of each refresh left out, and what they are. The window may hold some sweeps' calls in part.
func sweepCalls(t *testing.T, w *watchProcess) (perSweep float64, lines []string) {
	t.Helper()
	w.sweeps(2)
	tr := trace(t, w.cmd.Process.Pid, "-e", "trace=%file,%desc,%process,%ipc")
	w.sweeps(8)
	lines = slices.DeleteFunc(tr.stop(), func(line string) bool {
		return strings.HasPrefix(line, "write(2, ") && strings.Contains(line, "sidecar.refreshed")
	})
	w.stop(syscall.SIGTERM)
	count, sweeps := calls(lines), 0
	for _, line := range lines {
		if strings.HasPrefix(line, "write(2, ") && strings.Contains(line, "sweep.done") {
			sweeps++
		}
	}
	if sweeps < 5 {
		t.Fatalf("%d sweeps were traced:\n%s", sweeps, tail(strings.Join(lines, "\n"), 3000))
	}
	total := 0
	for name, k := range count {
		if !slices.Contains(ofTheRuntime, name) {
			total += k
		}
	}
	perSweep = float64(total) / float64(sweeps)
	t.Logf("%.1f calls a sweep in %d sweeps: %v", perSweep, sweeps, count)
	return perSweep, lines
}

// A dead daemon whose files have not changed costs a sweep no system call, however
// many there are.
func TestDeadEntriesCostASweepNothing(t *testing.T) {
	t.Parallel()
	if raceEnabled {
		t.Skip("a build with the race detector makes other calls, and nobody runs it")
	}
	per := make(map[int]float64)
	for _, n := range []int{100, 2000} {
		root := memoryRoot(t)
		s := newSpawner(t, root)
		deadDirs(t, s, n)
		w := startWatch(t, root, "--sweep-interval", "200ms")
		awaitMany(t, w, "daemon.added", 0, n)
		var lines []string
		per[n], lines = sweepCalls(t, w)
		for _, line := range lines {
			if strings.Contains(line, "dead0") || strings.Contains(line, "daemon.json") {
				t.Errorf("an unchanged dead dir was looked at: %s", line)
				break
			}
		}
	}
	// What there is belongs to the look at the root, one call, and to the log line. The
	// window may hold one look more or less than sweeps; 1,900 dirs would show.
	if per[2000] > per[100]+10 || per[2000] > 10 {
		t.Errorf("a sweep makes %.1f calls over 100 dead dirs, %.1f over 2000", per[100], per[2000])
	}
}

// A live daemon costs a sweep six system calls to refresh its sidecar and one to see that
// the write was our own. Reading the events comes to it: one call or two for as many as
// there are, which is few here, where strace slows down who writes.
func TestLiveEntriesCostASweepLittle(t *testing.T) {
	t.Parallel()
	if raceEnabled {
		t.Skip("a build with the race detector makes other calls, and nobody runs it")
	}
	const few, many = 50, 200
	var per sync.Map
	t.Run("sweeps", func(t *testing.T) {
		for _, n := range []int{few, many} {
			t.Run(strconv.Itoa(n), func(t *testing.T) {
				t.Parallel()
				root := memoryRoot(t)
				s := newSpawner(t, root)
				crowd(t, s, n, daemondirtest.Sidecar(time.Time{}, time.Now()))
				w := startWatch(t, root, "--sweep-interval", "500ms")
				awaitMany(t, w, "daemon.live", 0, n)
				calls, _ := sweepCalls(t, w)
				per.Store(n, calls)
			})
		}
	})
	if t.Failed() {
		return
	}
	of := func(n int) float64 { calls, _ := per.Load(n); return calls.(float64) }
	each := (of(many) - of(few)) / (many - few)
	t.Logf("%.1f calls for each live daemon", each)
	if each < 6 || each > 13 {
		t.Errorf("a sweep makes %.1f calls for each live daemon", each)
	}
}

// sidecarOpens counts the opens of sidecars in a trace that succeeded.
func sidecarOpens(lines []string) (reads, writes, busy int) {
	for _, line := range lines {
		switch {
		case !strings.Contains(line, ".daemon.json"):
		case strings.Contains(line, "EAGAIN"):
			busy++
		case strings.Contains(line, "O_RDWR"):
			writes++
		case strings.Contains(line, "O_RDONLY"):
			reads++
		}
	}
	return reads, writes, busy
}

// Our own refresh changes a sidecar, which is an event. Its sidecar is read at most once
// upon that, when the event was faster than the word of who wrote it; there is no second
// look, and no answer to the answer.
func TestRefreshDoesNotLoop(t *testing.T) {
	t.Parallel()
	const live = 20
	root := memoryRoot(t)
	s := newSpawner(t, root)
	crowd(t, s, live, daemondirtest.Sidecar(time.Now(), time.Now()))
	w := startWatch(t, root, "--sweep-interval", "200ms")
	awaitMany(t, w, "daemon.live", 0, live)
	w.sweeps(2)
	before := len(w.all("sweep.done", ""))
	tr := trace(t, w.cmd.Process.Pid, "-e", "trace=openat,openat2")
	w.sweeps(8)
	reads, writes, busy := sidecarOpens(tr.stop())
	w.stop(syscall.SIGTERM)
	sweeps := len(w.all("sweep.done", "")) - before
	t.Logf("%d refreshes: %d reads, %d more found the sidecar leased", writes, reads, busy)
	if writes < 5*live || writes > (sweeps+1)*live {
		t.Errorf("%d refreshes of %d daemons in %d sweeps", writes, live, sweeps)
	}
	if reads > writes+live { // the first may belong to a refresh before the trace
		t.Errorf("%d reads of the sidecar for %d refreshes", reads, writes)
	}
	loggedTimes(t, w, live, "daemon.live", "")
	w.never("daemon.exited", "")
	w.never("sidecar.invalid", "")
}

// A daemon, or a manager, that rewrites its sidecar a thousand times a second costs at
// most a read per change that is seen, says nothing new, and the last text counts.
func TestSidecarRewrittenAllTheTime(t *testing.T) {
	t.Parallel()
	root := memoryRoot(t)
	s := newSpawner(t, root)
	w := startWatch(t, root, "--sweep-interval", "1h")
	w.next("root.found", "")
	w.next("sweep.done", "")
	d := bystander(t, "/")
	s.leave("d", daemondirtest.Sidecar(time.Now(), time.Now()), strconv.Itoa(d))
	w.next("daemon.live", "d")
	tr := trace(t, w.cmd.Process.Pid, "-e", "trace=openat")
	spawned := time.Now()
	rewrites, last, slowest := 0, time.Time{}, time.Duration(0)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Second); time.Now().Before(end); rewrites++ {
		<-tick.C
		last = spawned.Add(time.Duration(rewrites) * time.Second)
		began := time.Now()
		noError(t, os.WriteFile(s.sidecar("d"), daemondirtest.Sidecar(spawned, last), 0o644))
		slowest = max(slowest, time.Since(began))
	}
	// Told of in order: when the next is known, so is the last text.
	s.leave("next", daemondirtest.Sidecar(time.Now(), time.Now()), noProcess)
	w.next("daemon.added", "next")
	var lines []string
	for _, line := range tr.stop() {
		if strings.Contains(line, `"d.daemon.json"`) {
			lines = append(lines, line)
		}
	}
	reads, _, busy := sidecarOpens(lines)
	t.Logf("%d rewrites: %d reads, %d busy", rewrites, reads, busy)
	if reads == 0 || reads > 2*rewrites+2 {
		t.Errorf("%d reads of the sidecar for %d rewrites", reads, rewrites)
	}
	noError(t, syscall.Kill(d, syscall.SIGKILL))
	e := w.next("daemon.exited", "d")
	if want := last.Add(6 * time.Hour).UnixMilli(); e.number("stale_at_unix_ms") != want {
		t.Errorf("want stale_at_unix_ms %d, of the last text: %s", want, e.line)
	}
	w.stop(syscall.SIGTERM)
	var told []string
	for _, e := range w.all("", "d") {
		if e.event == "sidecar.invalid" && slowest > time.Second/2 {
			continue // this test had no processor between emptying the sidecar and writing it
		}
		told = append(told, e.event)
	}
	if want := []string{"daemon.added", "daemon.live", "daemon.exited"}; !slices.Equal(told, want) {
		t.Errorf("said %q of it, want %q", told, want)
	}
}

package integration

// A reader of the log that stands still stops nothing, and nothing holds up the end.

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir/daemondirtest"
)

// A logPipe is the read end of a pipe with room for some twenty lines of a log.
type logPipe struct {
	t  *testing.T
	in *bufio.Reader
}

// narrowPipe returns a pipe; each read of it fails the test if it takes too long.
func narrowPipe(t *testing.T) (r *logPipe, w *os.File) {
	t.Helper()
	from, w, err := os.Pipe()
	noError(t, err)
	t.Cleanup(func() {
		from.Close()
		w.Close()
	})
	noError(t, from.SetReadDeadline(time.Now().Add(3*patience)))
	narrow(t, w)
	return &logPipe{t, bufio.NewReader(from)}, w
}

// narrow makes a pipe as small as it can be.
func narrow(t *testing.T, pipe *os.File) {
	t.Helper()
	if _, err := unix.FcntlInt(pipe.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
}

// next returns the next event, or none at the end of the log.
func (r *logPipe) next() event {
	r.t.Helper()
	line, err := r.in.ReadBytes('\n')
	if len(line) == 0 {
		return event{}
	}
	checkSecrets(r.t, "the log", string(line))
	e, fault := parseEvent(line, false)
	if err != nil || fault != nil {
		r.t.Fatalf("%v, %v: %q", err, fault, line)
	}
	return e
}

// mustEndInTime waits for a process that was told to end. The limit is 5 s; a slow machine may
// take longer, but not forever.
func mustEndInTime(t *testing.T, cmd *exec.Cmd, code int) {
	t.Helper()
	began := time.Now()
	if got := waitFor(t, cmd); got != code {
		t.Errorf("exit code %d, want %d", got, code)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v to end", took)
	}
}

// crowded is how many dirs are more than a log can keep: 4,096 lines that are being written, and
// as many behind them.
const crowded = 9000

// crowdToCome returns a root that does not exist, and what makes it appear with all its dirs.
func crowdToCome(t *testing.T) (root string, appear func()) {
	t.Helper()
	root = memoryRoot(t)
	later := filepath.Join(filepath.Dir(root), "later")
	noError(t, os.Rename(root, later))
	text := daemondirtest.Sidecar(ago(time.Minute), time.Time{})
	for i := range crowded {
		daemondirtest.Make(t, later, fmt.Sprint("d", i), text, "")
	}
	return root, func() { noError(t, os.Rename(later, root)) }
}

// While nobody reads the log, births, exits and sweeps go on, and the watchdog is answered.
// When the reader is back, every line is there or counted: in the log, at the gap, and in the
// metrics.
func TestReaderOfTheLogStandsStill(t *testing.T) {
	t.Parallel()
	root, appear := crowdToCome(t)
	r, w := narrowPipe(t)
	m := newServiceManager(t)
	cmd := m.start(w, "--root", root, "--log-level", "debug", "--sweep-interval", "100ms", "--metrics-listen", "0")
	w.Close()
	lines, server := 0, ""
	for missing := false; !missing || server == ""; lines++ {
		switch e := r.next(); e.event {
		case "root.missing":
			missing = true
		case "metrics.listening":
			server = "http://" + e.fields["address"].(string)
		}
	}
	counts := func() samples { return parseSamples(t, get(t, server+"/metrics")) }
	if n, ok := counts()["runtimegc_log_dropped_total"]; !ok || n != 0 {
		t.Errorf("runtimegc_log_dropped_total is %v at the start, %v", n, ok)
	}
	of := func(name string) float64 { return counts()["runtimegc_"+name+`{root="`+root+`"}`] }

	appear()
	daemondirtest.Eventually(t, "lines are dropped", func() bool { return counts()["runtimegc_log_dropped_total"] > 0 })
	s := newSpawner(t, root)
	// Not spawned: a trampoline is a link, and the root is in memory.
	spawn := func(name string) *exec.Cmd {
		cmd := waiting(trampolineImage(t))
		noError(t, cmd.Start())
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
		s.leave(name, daemondirtest.Sidecar(time.Now(), time.Time{}), strconv.Itoa(cmd.Process.Pid))
		return cmd
	}
	spawn("lives")
	dies := spawn("dies")
	daemondirtest.Eventually(t, "births are noticed", func() bool { return of("births_total") == 2 })
	noError(t, dies.Process.Kill())
	daemondirtest.Eventually(t, "an exit is noticed", func() bool { return of("exits_total") == 1 })
	m.await(fmt.Sprintf("STATUS=watching %d daemon dirs in 1 root", crowded+2))
	for range 3 {
		m.await("WATCHDOG=1")
	}
	swept := of("sweep_duration_seconds_count")
	daemondirtest.Eventually(t, "sweeps go on", func() bool { return of("sweep_duration_seconds_count") > swept+2 })

	// The reader is back.
	dropped, last := int64(0), event{}
	take := func() {
		if last = r.next(); last.event == "log.dropped" {
			dropped += last.number("lines")
			return
		}
		lines++
	}
	// There are two gaps if the log's goroutine got no processor until the first lines, which fit in
	// the pipe, were a crowd.
	for said, n := int64(0), int64(-1); said != n; {
		if take(); last.event == "log.dropped" {
			said, n = dropped, int64(counts()["runtimegc_log_dropped_total"])
		}
		if said > n && n >= 0 || last.event == "" {
			t.Fatalf("%d lines are said to be missing, and %d are counted: %s", dropped, n, last.line)
		}
	}
	spawn("after")
	for last.event != "daemon.live" || last.daemon != "after" {
		take()
	}
	noError(t, cmd.Process.Signal(syscall.SIGTERM))
	for last.event != "watch.stopped" {
		take()
	}
	stopped := last
	if last = r.next(); last.event != "" {
		t.Errorf("after watch.stopped: %s", last.line)
	}
	mustEndInTime(t, cmd, 0)
	// watch.started, root.missing, metrics.listening, root.found and watch.stopped; for the
	// three that came later daemon.added and daemon.live, and one daemon.exited.
	logged := 5 + crowded + 7 + stopped.number("refreshed") + stopped.number("sweeps")
	if int64(lines)+dropped != logged {
		t.Errorf("%d lines were read and %d are said to be missing, but %d were logged", lines, dropped, logged)
	}
}

// A watch whose log nobody reads ends when it is told to, and its metrics are written; who
// reads in time gets every line; and a second signal does not wait.
func TestEndWhileNobodyReadsTheLog(t *testing.T) {
	t.Parallel()
	const dirs = 100
	start := func(t *testing.T) (cmd *exec.Cmd, r *logPipe, textfile string) {
		t.Parallel()
		root := runtimeRoot(t)
		fill(t, root, dirs, daemondirtest.Sidecar(ago(time.Minute), time.Time{}), noProcess)
		textfile = filepath.Join(t.TempDir(), "runtimegc.prom")
		r, w := narrowPipe(t)
		cmd = startTo(t, w, func(*exec.Cmd) {}, "watch", "--root", root, "--log-format", "json", "--metrics-textfile", textfile)
		w.Close()
		daemondirtest.Eventually(t, "it has swept", func() bool {
			text, _ := os.ReadFile(textfile)
			return bytes.Contains(text, []byte("runtimegc_last_sweep_timestamp_seconds{"))
		})
		noError(t, os.Remove(textfile))
		return cmd, r, textfile
	}
	t.Run("ever", func(t *testing.T) {
		cmd, _, textfile := start(t)
		noError(t, cmd.Process.Signal(syscall.SIGTERM))
		mustEndInTime(t, cmd, 1)
		text, err := os.ReadFile(textfile)
		noError(t, err)
		if n, ok := parseSamples(t, string(text))["runtimegc_log_dropped_total"]; !ok || n != 0 {
			t.Errorf("the textfile has %v, %v lines that were dropped", n, ok)
		}
	})
	t.Run("until it ends", func(t *testing.T) {
		cmd, r, _ := start(t)
		noError(t, cmd.Process.Signal(syscall.SIGTERM))
		added, e := 0, event{}
		for e.event != "watch.stopped" {
			if e = r.next(); e.event == "daemon.added" {
				added++
			}
		}
		mustEndInTime(t, cmd, 0)
		if added != dirs {
			t.Errorf("%d of %d dirs are in the log", added, dirs)
		}
	})
	t.Run("and whoever waits loses patience", func(t *testing.T) {
		cmd, _, _ := start(t)
		late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		defer late.Stop()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			cmd.Wait()
		}()
		// Signals that come at the same moment are one.
		for again := time.NewTicker(10 * time.Millisecond); ; {
			cmd.Process.Signal(syscall.SIGTERM)
			select {
			case <-again.C:
				continue
			case <-ended:
			}
			break
		}
		if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGTERM {
			t.Errorf("the second signal did not end it: %v", cmd.ProcessState)
		}
	})
}

// A terminal that stands still (Ctrl-S) stops nothing, neither while it does nor at the end.
func TestTerminalStandsStill(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	term := newTerminal(t)
	control, err := os.OpenFile(term.slave.Name(), os.O_RDWR|unix.O_NOCTTY, 0)
	noError(t, err)
	defer control.Close()
	flow := func(action int) { noError(t, unix.IoctlSetInt(int(control.Fd()), unix.TCXONC, action)) }
	const tcooff, tcoon = 0, 1 // of tcflow(3)
	cmd := startTo(t, term.slave, func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), "NO_COLOR=1", "TERM=xterm") },
		"watch", "--root", root, "--sweep-interval", "100ms")
	go term.read()
	shows := func(what string) {
		t.Helper()
		daemondirtest.Eventually(t, "the terminal shows "+what, func() bool { return strings.Contains(term.log.String(), what) })
	}
	s := newSpawner(t, root)
	refreshed := func(name string) {
		t.Helper()
		daemondirtest.Eventually(t, name+" is refreshed", func() bool {
			text, _ := os.ReadFile(s.sidecar(name))
			return bytes.Contains(text, []byte("last_seen_unix_ms"))
		})
	}
	shows("runtime root found")
	flow(tcooff)
	s.spawn("a")
	refreshed("a")
	if strings.Contains(term.log.String(), "daemon=a") {
		t.Error("the terminal does not stand still")
	}
	flow(tcoon)
	shows("daemon is alive daemon=a")

	flow(tcooff)
	s.spawn("b")
	refreshed("b")
	noError(t, cmd.Process.Signal(syscall.SIGINT))
	mustEndInTime(t, cmd, 1)
	flow(tcoon)
	if text := term.log.String(); strings.Contains(text, "lines are missing") {
		t.Errorf("a few lines were too many:\n%s", text)
	}
}

// A hanging is a command that was told to end, and what it is doing instead.
type hanging struct {
	cmd    *exec.Cmd
	stderr io.Reader
	doing  string
}

// Whatever hangs, a signal ends every command, and the last line says what it was doing: here
// a sidecar cannot be opened.
func TestEndWhileAnOpenHangs(t *testing.T) {
	t.Parallel()
	var rows []hanging
	for command, doing := range map[string]string{
		"list":       "the reading of ROOT",
		"list hangs": "the reading of ROOT/hangs",
		"prune":      "the reading of ROOT",
		"watch":      "the watch of ROOT",
	} {
		root := runtimeRoot(t)
		s := newSpawner(t, root)
		s.dead("hangs", time.Minute)
		g := newGate(t, s.sidecar("hangs"))
		r, w, err := os.Pipe()
		noError(t, err)
		defer r.Close()
		cmd := startTo(t, w, func(*exec.Cmd) {}, append(strings.Fields(command), "--root", root)...)
		w.Close()
		g.wait()
		noError(t, cmd.Process.Signal(syscall.SIGINT))
		rows = append(rows, hanging{cmd, r, strings.Replace(doing, "ROOT", root, 1)})
	}
	for _, row := range rows {
		mustEndInTime(t, row.cmd, 1)
		stderr, err := io.ReadAll(row.stderr)
		noError(t, err)
		lines := strings.Split(strings.TrimSpace(string(stderr)), "\n")
		want := "runtimegc: ended 4.5s after the signal, without waiting any longer for " + row.doing
		if last := lines[len(lines)-1]; last != want {
			t.Errorf("the last line is %q, want %q", last, want)
		}
	}
}

// A mount that does not answer is no different.
func TestEndWhileAMountHangs(t *testing.T) {
	t.Parallel()
	if !inOwnMounts(t) {
		return
	}
	mount := mountFUSE(t)
	root := mount.at
	mount.silence()
	var commands []*exec.Cmd
	// Several, because it depends on chance which thread hangs: the first one must not. The
	// other commands end by themselves, see TestRootDoesNotAnswer.
	for range 3 {
		commands = append(commands, startTo(t, nil, func(*exec.Cmd) {}, "watch", "--root", root))
	}
	for _, cmd := range commands {
		daemondirtest.Eventually(t, fmt.Sprint(cmd.Args, " hangs"), func() bool {
			tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/wchan", cmd.Process.Pid))
			noError(t, err)
			return slices.ContainsFunc(tasks, func(task string) bool {
				wchan, _ := os.ReadFile(task)
				return strings.Contains(string(wchan), "request_wait_answer")
			})
		})
		noError(t, cmd.Process.Signal(syscall.SIGTERM))
	}
	for _, cmd := range commands {
		mustEndInTime(t, cmd, 1)
	}
}

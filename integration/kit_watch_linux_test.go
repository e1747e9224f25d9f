package integration

// A running `runtimegc watch`, and its log.

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// watchProcess is a running `runtimegc watch` with JSON logs. Every line is checked as
// it comes.
type watchProcess struct {
	t      *testing.T
	cmd    *exec.Cmd
	dryRun bool
	stdout bytes.Buffer
	done   chan struct{} // closed when the process has been waited for

	mu     sync.Mutex // guards all below
	events []event
	taken  []bool        // events that next has returned
	faults []error       // lines that break the contract
	more   chan struct{} // closed and replaced at each line
	ended  bool          // the log is at its end
}

// startWatch starts a watch on root at debug level and waits for watch.started.
func startWatch(t *testing.T, root string, args ...string) *watchProcess {
	t.Helper()
	return startWatchAs(t, &syscall.SysProcAttr{}, root, args...)
}

// startWatchAs is startWatch with attributes for the process, such as another user.
func startWatchAs(t *testing.T, attr *syscall.SysProcAttr, root string, args ...string) *watchProcess {
	t.Helper()
	return startWatchBy(t, nil, attr, root, args...)
}

// startWatchBy is startWatchAs by way of a command that ends by executing its arguments.
func startWatchBy(t *testing.T, by []string, attr *syscall.SysProcAttr, root string, args ...string) *watchProcess {
	t.Helper()
	args = append([]string{"watch", "--root", root, "--log-format", "json", "--log-level", "debug"}, args...)
	w := &watchProcess{t: t, done: make(chan struct{}), more: make(chan struct{})}
	w.dryRun = slices.Contains(args, "--dry-run")
	command := slices.Concat(by, []string{binary(t)}, args)
	w.cmd = exec.Command(command[0], command[1:]...)
	w.cmd.Dir = os.TempDir()
	w.cmd.Stdout = &w.stdout
	w.cmd.SysProcAttr = attr
	attr.Pdeathsig = syscall.SIGKILL
	stderr, err := w.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	noError(t, w.cmd.Start())
	go func() {
		w.read(bufio.NewReader(stderr))
		w.cmd.Wait() // its exit code is looked at by stop
		close(w.done)
	}()
	t.Cleanup(w.close)
	w.next("watch.started", "")
	return w
}

// read takes in the log until its end.
func (w *watchProcess) read(r *bufio.Reader) {
	for {
		line, err := r.ReadBytes('\n')
		w.mu.Lock()
		if len(line) > 0 {
			e, fault := parseEvent(line, w.dryRun)
			if fault != nil {
				w.faults = append(w.faults, fmt.Errorf("%w in log line %q", fault, line))
			}
			w.events = append(w.events, e)
			w.taken = append(w.taken, false)
		}
		w.ended = err != nil
		close(w.more)
		w.more = make(chan struct{})
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// next waits for the next event of that kind for that daemon (any, if empty) that it
// has not returned before.
func (w *watchProcess) next(kind, daemon string) event {
	w.t.Helper()
	deadline := time.After(patience)
	for from := 0; ; {
		w.mu.Lock()
		for ; from < len(w.events); from++ {
			e := w.events[from]
			if !w.taken[from] && e.event == kind && (daemon == "" || e.daemon == daemon) {
				w.taken[from] = true
				w.mu.Unlock()
				return e
			}
		}
		more, ended := w.more, w.ended
		w.mu.Unlock()
		if ended {
			w.t.Fatalf("the watch ended without %s %s", kind, daemon)
		}
		select {
		case <-more:
		case <-deadline:
			w.t.Fatalf("no %s %s within %v", kind, daemon, patience)
		}
	}
}

// all returns the events of that kind for that daemon (any, if empty) up to now.
func (w *watchProcess) all(kind, daemon string) []event {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []event
	for _, e := range w.events {
		if (kind == "" || e.event == kind) && (daemon == "" || e.daemon == daemon) {
			found = append(found, e)
		}
	}
	return found
}

// takeLog returns the log that was read so far and drops it, so that a long test does not
// grow itself.
func (w *watchProcess) takeLog() []event {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := w.events
	w.events, w.taken = nil, nil
	return taken
}

// never fails the test if there was an event of that kind for that daemon. It is for
// after stop, when the log is complete.
func (w *watchProcess) never(kind, daemon string) {
	w.t.Helper()
	for _, e := range w.all(kind, daemon) {
		w.t.Errorf("there must be no %s for %q: %s", kind, daemon, e.line)
	}
}

// sweeps waits until so many more whole sweeps are over.
func (w *watchProcess) sweeps(n int) {
	w.t.Helper()
	// The sweep that is under way may have begun before the caller's last change.
	seen := len(w.all("sweep.done", ""))
	for len(w.all("sweep.done", "")) < seen+n+1 {
		w.next("sweep.done", "")
	}
}

// stop ends the watch with a signal and returns its last line. It must exit with 0 and
// have written nothing to stdout.
func (w *watchProcess) stop(sig syscall.Signal) event {
	w.t.Helper()
	noError(w.t, w.cmd.Process.Signal(sig))
	select {
	case <-w.done:
	case <-time.After(patience):
		w.t.Fatalf("the watch did not end within %v of %v", patience, sig)
	}
	if code := w.cmd.ProcessState.ExitCode(); code != 0 {
		w.t.Errorf("exit code %d after %v, want 0", code, sig)
	}
	if w.stdout.Len() > 0 {
		w.t.Errorf("watch wrote to stdout: %q", &w.stdout)
	}
	all := w.all("", "")
	last := all[len(all)-1]
	if last.event != "watch.stopped" {
		w.t.Errorf("the last line is no watch.stopped: %s", last.line)
	}
	return last
}

// close ends the watch if the test has not, and judges its log.
func (w *watchProcess) close() {
	w.cmd.Process.Kill()
	<-w.done
	for i, fault := range w.faults {
		if i == 3 {
			w.t.Errorf("and %d more", len(w.faults)-i)
			break
		}
		w.t.Error(fault)
	}
	var all, told bytes.Buffer
	for _, e := range w.events {
		all.WriteString(e.line)
		if e.level != "debug" && e.event != "sweep.done" {
			told.WriteString(e.line)
		}
	}
	checkSecrets(w.t, "the log", all.String())
	if w.t.Failed() {
		w.t.Logf("the log of the watch, without debug lines and sweeps:\n%s", tail(told.String(), 8_000))
	}
}

// tail returns the last n bytes of text.
func tail(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return "... " + text[len(text)-n:]
}

// startWatchLimited is startWatch with a limit of open files.
func startWatchLimited(t *testing.T, limit int, root string, args ...string) *watchProcess {
	t.Helper()
	by := []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, limit)}
	return startWatchBy(t, by, &syscall.SysProcAttr{}, root, args...)
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

// loggedTimes fails the test unless there were n events of that kind for that daemon.
func loggedTimes(t *testing.T, w *watchProcess, n int, kind, daemon string) {
	t.Helper()
	if told := w.all(kind, daemon); len(told) != n {
		t.Errorf("%s was said %d times of %q, want %d", kind, len(told), daemon, n)
	}
}

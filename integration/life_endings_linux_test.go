package integration

// How a daemon has ended, and who keeps the directory of one.

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir/daemondirtest"
)

// tellsEndings skips the test where the kernel does not tell how a process that is no child
// ends: it takes Linux 6.15.
func tellsEndings(t *testing.T) {
	t.Helper()
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	noError(t, err)
	defer unix.Close(fd)
	if err := unix.IoctlPidfdInfo(fd, &unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}); err != nil {
		t.Skipf("PIDFD_GET_INFO: %v", err)
	}
}

// endingDaemon starts a shell script as a daemon that ends when its standard input does.
func endingDaemon(t *testing.T, root, name, script string) (end func()) {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	stdin, err := cmd.StdinPipe()
	noError(t, err)
	noError(t, cmd.Start())
	daemondirtest.Make(t, root, name, daemondirtest.Sidecar(time.Now(), time.Time{}), fmt.Sprint(cmd.Process.Pid))
	return func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	}
}

// The log and list say with which code, or by which signal, a daemon has ended.
func TestEndingIsTold(t *testing.T) {
	t.Parallel()
	tellsEndings(t)
	root := runtimeRoot(t)
	w := startWatch(t, root, "--sweep-interval", "1h")
	w.next("sweep.done", "")
	for name, test := range map[string]struct {
		script, key string
		value       any
		words       string
	}{
		"failed":  {"read x; exit 3", "exit_code", int64(3), "exit code 3"},
		"done":    {"read x; exit 0", "exit_code", int64(0), "exit code 0"},
		"killed":  {"read x; kill -KILL $$", "signal", "SIGKILL", "killed by SIGKILL"},
		"crashed": {"ulimit -c 0; read x; kill -SEGV $$", "signal", "SIGSEGV", "killed by SIGSEGV"},
	} {
		var e event
		for try := 0; try < 20 && !e.has(test.key); try++ { // this process may be slow to reap it
			end := endingDaemon(t, root, name, test.script)
			w.next("daemon.live", name)
			end()
			e = w.next("daemon.exited", name)
		}
		var got any = e.fields[test.key]
		if test.key == "exit_code" {
			got = e.number(test.key)
		}
		if got != test.value {
			t.Errorf("want %s %v: %s", test.key, test.value, e.line)
		}
		// What follows, such as the record of the exit in the sidecar, does not forget it.
		for range 2 {
			if o := run(t, "list", "--root", root, name).must(t); !strings.Contains(o.stdout, "("+test.words+")") {
				t.Errorf("list %s does not say %q: %s", name, test.words, o.stdout)
			}
		}
		if row := string(listJSON(t, root)[name]["ending"]); !strings.Contains(row, test.key) {
			t.Errorf("list --json: %s: ending %s", name, row)
		}
	}
	// A daemon that lives again has not ended.
	end := endingDaemon(t, root, "failed", "read x")
	w.next("daemon.live", "failed")
	if row, told := listJSON(t, root)["failed"]["ending"]; told {
		t.Errorf("the daemon that was started again: ending %s", row)
	}
	end()
	if o := run(t, "prune", "--root", root, "--stale-after", "1ms", "killed").must(t); !strings.Contains(o.stdout, "removed  killed") {
		t.Errorf("prune: %s", o.stdout)
	}
	if e := w.next("daemon.removed", "killed"); e.fields["signal"] != "SIGKILL" {
		t.Errorf("it does not say how it has ended: %s", e.line)
	}
	w.stop(syscall.SIGTERM)
}

// The log, list, prune and the JSON of both say who keeps a directory that is due.
func TestWhoKeepsIt(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("used", stale)
	pid := bystander(t, s.dir("used"))
	s.dead("locked", stale)
	flockShared(t, s.dir("locked"))
	s.dead("written", stale)
	daemondirtest.WriteFile(t, filepath.Join(s.dir("written"), "app.log"), "a line")
	want := map[string]struct {
		pid     int
		details string
	}{
		"used":    {pid, fmt.Sprintf("pid %d has its working directory in it", pid)},
		"locked":  {os.Getpid(), fmt.Sprintf("pid %d holds a lock on it", os.Getpid())},
		"written": {0, "app.log was written"},
	}
	check := func(what string, rows map[string]object) {
		t.Helper()
		for name, want := range want {
			used := ""
			if want.pid > 0 {
				used = fmt.Sprint(want.pid)
			}
			if got := string(rows[name]["used_by"]); got != used || !strings.Contains(string(rows[name]["details"]), want.details) {
				t.Errorf("%s: %s: used_by %q, details %s; want %q, %q", what, name, got, rows[name]["details"], used, want.details)
			}
		}
	}
	check("list", listJSON(t, root))
	_, rows := pruneJSON(t, root)
	check("prune", rows)
	list, prune := run(t, "list", "--root", root).must(t), run(t, "prune", "--root", root).must(t)
	w := startWatch(t, root)
	for name, want := range want {
		if !strings.Contains(list.stdout, want.details) {
			t.Errorf("list does not say %q: %s", want.details, list.stdout)
		}
		if !strings.Contains(prune.stdout, want.details) {
			t.Errorf("prune does not say %q: %s", want.details, prune.stdout)
		}
		e := w.next("daemon.kept", name)
		if got := max(e.number("user_pid"), 0); got != int64(want.pid) || !strings.Contains(e.line, want.details) {
			t.Errorf("want %d and %q: %s", want.pid, want.details, e.line)
		}
	}
	w.stop(syscall.SIGTERM)
}

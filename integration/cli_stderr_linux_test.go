package integration

// Where the log goes, and what becomes of the watch when it goes nowhere: files that are
// rotated, readers that die, terminals.

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// logrotate renames the log and sends a SIGHUP. No line may be lost, whenever that
// comes: each daemon is told of once, in one of the files.
func TestLogRotation(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	path := filepath.Join(t.TempDir(), "log")
	cmd := startTo(t, nil, func(*exec.Cmd) {}, "watch", "--root", root, "--log-file", path)
	all := func() string {
		files, err := filepath.Glob(path + "*")
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		for _, file := range files {
			part, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text.Write(part)
		}
		return text.String()
	}
	daemondirtest.Eventually(t, "the log is there", func() bool { return strings.Contains(all(), "root.found") })
	const rotations, each = 10, 20
	s := newSpawner(t, root)
	for i := range rotations {
		for n := range each {
			if _, err := s.begin(fmt.Sprintf("d%d-%d", i, n), daemondirtest.Sidecar(time.Now(), time.Time{})); err != nil {
				t.Fatal(err)
			}
		}
		noError(t, os.Rename(path, fmt.Sprintf("%s.%d", path, i)))
		noError(t, cmd.Process.Signal(syscall.SIGHUP))
		daemondirtest.Eventually(t, "there is a new file", func() bool {
			_, err := os.Stat(path)
			return err == nil
		})
	}
	daemondirtest.Eventually(t, "every daemon is told of", func() bool { return strings.Count(all(), "daemon.added") >= rotations*each })
	noError(t, cmd.Process.Signal(syscall.SIGTERM))
	if code := waitFor(t, cmd); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	told := make(map[string]int)
	for line := range strings.Lines(all()) {
		e, err := parseEvent([]byte(line), false)
		if err != nil {
			t.Errorf("%v: %s", err, line)
		}
		if e.event == "daemon.added" {
			told[e.daemon]++
		}
	}
	for i := range rotations {
		for n := range each {
			if name := fmt.Sprintf("d%d-%d", i, n); told[name] != 1 {
				t.Errorf("%s was told of %d times", name, told[name])
			}
		}
	}
	if last, err := os.ReadFile(path); err != nil || !strings.Contains(string(last), "watch.stopped") {
		t.Errorf("the end is not in the last file: %v", err)
	}
	checkSecrets(t, "the log", all())
}

// A reader of the log that dies, as in `watch 2>&1 | head -1`, is not the end of what
// the watch is for.
func TestReaderOfTheLogDies(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := startTo(t, w, func(cmd *exec.Cmd) { cmd.Stdout = w }, "watch", "--root", root, "--sweep-interval", "50ms", "--stale-after", "1s")
	w.Close()
	if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	r.Close()
	s := newSpawner(t, root)
	for i := range 3 {
		d := s.spawn(fmt.Sprint("d", i))
		d.kill()
		daemondirtest.Eventually(t, "the dead daemon's dir is removed", func() bool {
			_, err := os.Lstat(d.dir)
			return errors.Is(err, os.ErrNotExist)
		})
	}
	noError(t, cmd.Process.Signal(syscall.SIGTERM))
	if code := waitFor(t, cmd); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// A scan that takes long says how far it is, on a terminal; nothing of that is left
// afterwards, nor comes anywhere else. Here it takes long because somebody holds a lease
// on a sidecar.
func TestProgressOnATerminal(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("a", time.Minute)
	s.dead("b", time.Minute)
	hold := func() (release func()) {
		f, err := os.OpenFile(s.sidecar("b"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
			t.Skipf("no leases on this file system: %v", err)
		}
		return func() { f.Close() }
	}
	release := hold()
	defer release()
	term := newTerminal(t)
	var stdout bytes.Buffer
	cmd := startTo(t, term.slave, func(cmd *exec.Cmd) { cmd.Stdout = &stdout }, "prune", "--root", root)
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		term.read()
	}()
	daemondirtest.Eventually(t, "progress is shown", func() bool { return strings.Contains(term.log.String(), "reading the runtime root: 1 dirs") })
	release()
	if code := waitFor(t, cmd); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	<-reading
	if shown := term.shown(); shown != "" {
		t.Errorf("left on the screen: %q of %q", shown, term.log.String())
	}
	if !strings.Contains(stdout.String(), "2 scanned") || strings.ContainsAny(stdout.String(), "\r\x1b") {
		t.Errorf("the result is %q", stdout.String())
	}

	// The same into a pipe.
	release = hold()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd = startTo(t, w, func(*exec.Cmd) {}, "prune", "--root", root)
	w.Close()
	// Longer than the terminal waited; the less there is to see, the less this proves, but
	// it is never wrong.
	time.AfterFunc(700*time.Millisecond, release)
	if code := waitFor(t, cmd); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if text, err := io.ReadAll(r); err != nil || len(text) > 0 {
		t.Errorf("into a pipe: %q, %v", text, err)
	}
}

// The log of a person fits a screen, in a usual life of a daemon.
func TestConsoleFitsAScreen(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	term := newTerminal(t)
	cmd := startTo(t, term.slave, func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), "NO_COLOR=1", "TERM=xterm") },
		"watch", "--root", root, "--sweep-interval", "100ms", "--stale-after", "1s")
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		term.read()
	}()
	s := newSpawner(t, root)
	d := s.spawn("hello")
	daemondirtest.Eventually(t, "it lives", func() bool { return strings.Count(term.log.String(), "daemon is alive") == 1 })
	d.kill()
	d = s.spawn("hello")
	daemondirtest.Eventually(t, "it lives anew", func() bool { return strings.Count(term.log.String(), "daemon is alive") == 2 })
	d.kill()
	daemondirtest.Eventually(t, "it is removed", func() bool { return strings.Contains(term.log.String(), "daemon dir removed") })
	noError(t, cmd.Process.Signal(syscall.SIGTERM))
	if code := waitFor(t, cmd); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	<-reading
	shown := term.shown()
	for line := range strings.Lines(shown) {
		if len(strings.TrimSuffix(line, "\n")) > 80 && !strings.Contains(line, " dir=") { // a path is as long as it is
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	for _, want := range []string{"watching", "daemon dir found", "daemon has exited", "stopped"} {
		if !strings.Contains(shown, want) {
			t.Errorf("the screen does not say %q:\n%s", want, shown)
		}
	}
}

// A terminal that is closed ends what was started in it; for a service the same signal
// means something else.
func TestTerminalIsClosed(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	term := newTerminal(t)
	cmd := startTo(t, term.slave, func(cmd *exec.Cmd) {
		cmd.Stdin = term.slave
		cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	}, "watch", "--root", root)
	term.slave.Close()
	part := make([]byte, 4096)
	for seen := ""; !strings.Contains(seen, "runtime root found"); {
		n, err := term.master.Read(part)
		if err != nil {
			t.Fatal(err)
		}
		seen += string(part[:n])
	}
	term.master.Close()
	if code := waitFor(t, cmd); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

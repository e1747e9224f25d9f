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
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// startTo starts the program with its stderr going there. It is killed at the end of the
// test, if it still runs.
func startTo(t *testing.T, stderr *os.File, prepare func(*exec.Cmd), args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(binary(t), args...)
	cmd.Dir = os.TempDir()
	cmd.Stderr = stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	prepare(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() // no error that matters: it has been waited for, or the test failed
		cmd.Wait()
	})
	return cmd
}

// waitFor waits for a process and returns its exit code.
func waitFor(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer late.Stop()
	if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() < 0 {
		t.Errorf("the program was ended: %v", err)
	}
	return cmd.ProcessState.ExitCode()
}

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
	eventually(t, "the log is there", func() bool { return strings.Contains(all(), "root.found") })
	const rotations, each = 10, 20
	s := newSpawner(t, root)
	for i := range rotations {
		for n := range each {
			if _, err := s.begin(fmt.Sprintf("d%d-%d", i, n), sidecarText(t, time.Now(), time.Time{})); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Rename(path, fmt.Sprintf("%s.%d", path, i)); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "there is a new file", func() bool {
			_, err := os.Stat(path)
			return err == nil
		})
	}
	eventually(t, "every daemon is told of", func() bool { return strings.Count(all(), "daemon.added") >= rotations*each })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
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
		eventually(t, "the dead daemon's dir is removed", func() bool {
			_, err := os.Lstat(d.dir)
			return errors.Is(err, os.ErrNotExist)
		})
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := waitFor(t, cmd); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// terminal is a pseudo terminal: what is written to it is the log of a person.
type terminal struct {
	t      *testing.T
	master *os.File
	slave  *os.File

	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminal to be had: %v", err)
	}
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminal to be had: %v", err)
	}
	term := &terminal{t: t, master: master, slave: slave}
	t.Cleanup(func() {
		slave.Close()
		master.Close()
	})
	return term
}

// read takes in what the program writes, until nobody has the terminal open.
func (term *terminal) read() {
	term.slave.Close() // the program has it
	part := make([]byte, 4096)
	for {
		n, err := term.master.Read(part)
		term.mu.Lock()
		term.buf.Write(part[:n])
		term.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (term *terminal) text() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.buf.String()
}

// shown is what stands on the screen in the end.
func (term *terminal) shown() string {
	var lines []string
	for _, line := range strings.Split(term.text(), "\n") {
		if i := strings.LastIndex(line, "\r\x1b[K"); i >= 0 {
			line = line[i+len("\r\x1b[K"):]
		}
		lines = append(lines, strings.TrimSuffix(line, "\r"))
	}
	return strings.Join(lines, "\n")
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
	eventually(t, "progress is shown", func() bool { return strings.Contains(term.text(), "reading the runtime root: 1 dirs") })
	release()
	if code := waitFor(t, cmd); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	<-reading
	if shown := term.shown(); shown != "" {
		t.Errorf("left on the screen: %q of %q", shown, term.text())
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
	eventually(t, "it lives", func() bool { return strings.Count(term.text(), "daemon is alive") == 1 })
	d.kill()
	d = s.spawn("hello")
	eventually(t, "it lives anew", func() bool { return strings.Count(term.text(), "daemon is alive") == 2 })
	d.kill()
	eventually(t, "it is removed", func() bool { return strings.Contains(term.text(), "daemon dir removed") })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
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

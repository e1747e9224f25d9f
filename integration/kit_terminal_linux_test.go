package integration

// The program with its output going elsewhere: a file, a pipe, a terminal.

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"

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
	noError(t, cmd.Start())
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

// terminal is a pseudo terminal: what is written to it is the log of a person.
type terminal struct {
	t      *testing.T
	master *os.File
	slave  *os.File
	log    daemondirtest.Log
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminal to be had: %v", err)
	}
	fd := int(master.Fd())
	noError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
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
	term.slave.Close()              // the program has it
	io.Copy(&term.log, term.master) // ends with EIO, when nobody has the terminal open
}

// shown is what stands on the screen in the end.
func (term *terminal) shown() string {
	var lines []string
	for _, line := range strings.Split(term.log.String(), "\n") {
		if i := strings.LastIndex(line, "\r\x1b[K"); i >= 0 {
			line = line[i+len("\r\x1b[K"):]
		}
		lines = append(lines, strings.TrimSuffix(line, "\r"))
	}
	return strings.Join(lines, "\n")
}

//go:build !portable

package proc

import (
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tellsEndings skips the test if this kernel does not tell how other processes end.
func tellsEndings(t *testing.T) {
	t.Helper()
	_, h := startSleeper(t)
	if _, tells := h.ending(); !tells {
		t.Skip("this kernel does not tell how a process ends: it takes Linux 6.15")
	}
}

// The exit of a process tells the signal, or the code of the program that it ran last.
func TestEndingBySignal(t *testing.T) {
	tellsEndings(t)
	for script, want := range map[string]Ending{
		"read x; kill -KILL $$":              {Signal: "SIGKILL"},
		"read x; kill -TERM $$":              {Signal: "SIGTERM"},
		"ulimit -c 0; read x; kill -SEGV $$": {Signal: "SIGSEGV"},
		"read x; kill -40 $$":                {Signal: "signal 40"},
		"read x; exec sh -c 'exit 7'":        {Code: 7},
	} {
		wantEnding(t, want, func() *exec.Cmd { return exec.Command("sh", "-c", script) })
	}
}

// A parent that does not reap holds up the announcement for a moment only.
func TestEndingOfAZombie(t *testing.T) {
	tellsEndings(t)
	if got := announcedEnding(t, false, exec.Command("sh", "-c", "read x; exit 3")); got != nil {
		t.Errorf("%+v of a process that was not reaped", got)
	}
}

// A handle that cannot be asked is not asked again and again.
func TestEndingIsNotTold(t *testing.T) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if ended, tells := Handle(fd).ending(); ended != nil || tells {
		t.Errorf("%+v, %v", ended, tells)
	}
	began := time.Now()
	awaitReaped([]Handle{Handle(fd)})
	if took := time.Since(began); took >= reapTime {
		t.Errorf("it waited %v", took)
	}
	// It is not a reason not to wait for others.
	_, h := startSleeper(t)
	began = time.Now()
	if _, tells := h.ending(); tells {
		awaitReaped([]Handle{Handle(fd), h})
		if took := time.Since(began); took < reapTime {
			t.Errorf("it waited only %v beside another", took)
		}
	}
	if ended := h.Ending(); ended != nil {
		t.Errorf("%+v of a process that lives", ended)
	}
}

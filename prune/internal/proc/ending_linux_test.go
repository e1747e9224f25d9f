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

// announcedEnding starts a command, has its exit announced, and returns how it has ended.
func announcedEnding(t *testing.T, reap bool, command ...string) *Ending {
	t.Helper()
	x := runExits(t)
	cmd := exec.Command(command[0], command[1:]...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, h := inspect(uint32(cmd.Process.Pid), Query{})
	defer h.Close()
	defer x.Remove(h)
	if !x.Add(h, "a") {
		t.Fatal("no room")
	}
	if reap {
		go func() { _ = cmd.Wait() }()
	} else {
		t.Cleanup(func() { _ = cmd.Wait() })
	}
	_ = stdin.Close()
	select {
	case <-x.Announced():
		return h.Ending()
	case <-time.After(20 * time.Second):
		t.Fatal("it was not announced")
		return nil
	}
}

// The exit of a process that is no child of ours tells its code, or the signal.
func TestEnding(t *testing.T) {
	tellsEndings(t)
	for script, want := range map[string]Ending{
		"read x; exit 3":                     {Code: 3},
		"read x; exit 0":                     {Code: 0},
		"read x; kill -KILL $$":              {Signal: "SIGKILL"},
		"read x; kill -TERM $$":              {Signal: "SIGTERM"},
		"ulimit -c 0; read x; kill -SEGV $$": {Signal: "SIGSEGV"},
		"read x; kill -40 $$":                {Signal: "signal 40"},
		"read x; exec sh -c 'exit 7'":        {Code: 7},
	} {
		got := announcedEnding(t, true, "sh", "-c", script)
		for try := 0; got == nil && try < 20; try++ { // this process may be slow to reap it
			got = announcedEnding(t, true, "sh", "-c", script)
		}
		if got == nil || *got != want {
			t.Errorf("%s: %+v, want %+v", script, got, want)
		}
	}
}

// A parent that does not reap holds up the announcement for a moment only.
func TestEndingOfAZombie(t *testing.T) {
	tellsEndings(t)
	if got := announcedEnding(t, false, "sh", "-c", "read x; exit 3"); got != nil {
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

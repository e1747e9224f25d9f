//go:build (linux || windows) && !portable

package proc

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// enderVar makes the test binary end with that exit code as soon as its standard input does.
const enderVar = "GCTEST_ENDER"

// announcedEnding starts a command, ends its standard input, has its exit announced, and returns
// how it has ended.
func announcedEnding(t *testing.T, reap bool, cmd *exec.Cmd) *Ending {
	t.Helper()
	x := runExits(t)
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
	if ended := h.Ending(); ended != nil {
		t.Errorf("%+v of a process that lives", ended)
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

// wantEnding fails the test unless the command ends so.
func wantEnding(t *testing.T, want Ending, command func() *exec.Cmd) {
	t.Helper()
	got := announcedEnding(t, true, command())
	for try := 0; got == nil && try < 20; try++ { // this process may be slow to reap it
		got = announcedEnding(t, true, command())
	}
	if got == nil || *got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// The exit of a process that is asked for by its handle alone tells its code.
func TestEnding(t *testing.T) {
	if code, err := strconv.ParseUint(os.Getenv(enderVar), 10, 32); err == nil {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(int(code))
	}
	tellsEndings(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	codes := []uint32{0, 3, 255}
	if runtime.GOOS == "windows" {
		codes = append(codes, 259, 0xC0000005) // STILL_ACTIVE, and an access violation
	}
	for _, code := range codes {
		wantEnding(t, Ending{Code: int(code)}, func() *exec.Cmd {
			cmd := exec.Command(self, "-test.run", "^TestEnding$")
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", enderVar, code))
			return cmd
		})
	}
}

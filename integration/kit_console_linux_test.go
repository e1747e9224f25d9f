package integration

// A running `runtimegc watch` with its log for people.

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// console is a running `runtimegc watch --log-format console`.
type console struct {
	t   *testing.T
	cmd *exec.Cmd

	mu  sync.Mutex // guards log
	log bytes.Buffer
}

// Write takes in the log.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.Write(p)
}

func (c *console) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.log.String()
}

func startConsole(t *testing.T, attr *syscall.SysProcAttr, root string, args ...string) *console {
	t.Helper()
	args = append([]string{"watch", "--root", root, "--log-format", "console", "--log-level", "debug"}, args...)
	c := &console{t: t, cmd: exec.Command(binary(t), args...)}
	c.cmd.Dir = os.TempDir()
	c.cmd.Env = append(os.Environ(), "NO_COLOR=1")
	attr.Pdeathsig = syscall.SIGKILL
	c.cmd.SysProcAttr = attr
	c.cmd.Stderr = c
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.cmd.Process.Kill() // no error that matters: stop has been called, or the test failed
		c.cmd.Wait()
		if t.Failed() {
			t.Logf("the log of the watch:\n%q", tail(c.text(), 8_000))
		}
	})
	return c
}

// await waits until the log says what.
func (c *console) await(what string, times int) {
	c.t.Helper()
	eventually(c.t, "the log says "+what, func() bool { return strings.Count(c.text(), what) >= times })
}

// stop ends the watch and returns its log.
func (c *console) stop() string {
	c.t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		c.t.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { c.cmd.Process.Kill() })
	defer late.Stop()
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("the watch ended with %v", err)
	}
	return c.text()
}

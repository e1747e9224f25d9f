package integration

// A running `runtimegc watch` with its log for people.

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// console is a running `runtimegc watch --log-format console`.
type console struct {
	t   *testing.T
	cmd *exec.Cmd
	log daemondirtest.Log
}

func startConsole(t *testing.T, attr *syscall.SysProcAttr, root string, args ...string) *console {
	t.Helper()
	args = append([]string{"watch", "--root", root, "--log-format", "console", "--log-level", "debug"}, args...)
	c := &console{t: t, cmd: exec.Command(binary(t), args...)}
	c.cmd.Dir = os.TempDir()
	c.cmd.Env = append(os.Environ(), "NO_COLOR=1")
	attr.Pdeathsig = syscall.SIGKILL
	c.cmd.SysProcAttr = attr
	c.cmd.Stderr = &c.log
	noError(t, c.cmd.Start())
	t.Cleanup(func() {
		c.cmd.Process.Kill() // no error that matters: stop has been called, or the test failed
		c.cmd.Wait()
		if t.Failed() {
			t.Logf("the log of the watch:\n%q", tail(c.log.String(), 8_000))
		}
	})
	return c
}

// await waits until the log says what.
func (c *console) await(what string, times int) {
	c.t.Helper()
	daemondirtest.Eventually(c.t, "the log says "+what, func() bool { return strings.Count(c.log.String(), what) >= times })
}

// stop ends the watch and returns its log.
func (c *console) stop() string {
	c.t.Helper()
	noError(c.t, c.cmd.Process.Signal(syscall.SIGTERM))
	late := time.AfterFunc(patience, func() { c.cmd.Process.Kill() })
	defer late.Stop()
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("the watch ended with %v", err)
	}
	return c.log.String()
}

package integration

// Cheap daemons, many at once.

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// cats are cheap daemons: a process group of cats that wait for the end of a pipe.
type cats struct {
	t    *testing.T
	hold *os.File // its closing ends them all
	read *os.File
	pgid int
	all  []*exec.Cmd
}

// newCats returns none yet; what it starts is gone at the end of the test.
func newCats(t *testing.T) *cats {
	t.Helper()
	c := &cats{t: t}
	var err error
	if c.read, c.hold, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	return c
}

// start starts one and returns its pid.
func (c *cats) start() int {
	c.t.Helper()
	cmd := exec.Command("cat")
	cmd.Stdin = c.read
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: c.pgid}
	noError(c.t, cmd.Start())
	if c.pgid == 0 {
		c.pgid = cmd.Process.Pid
	}
	c.all = append(c.all, cmd)
	return cmd.Process.Pid
}

// release ends them by the end of their input.
func (c *cats) release() {
	c.read.Close()
	c.hold.Close()
}

// reap waits for those that have ended.
func (c *cats) reap() {
	for _, cmd := range c.all {
		cmd.Wait()
	}
	c.all = nil
}

// kill kills them all by one signal.
func (c *cats) kill() {
	if err := syscall.Kill(-c.pgid, syscall.SIGKILL); err != nil {
		c.t.Error(err)
	}
}

//go:build !windows

package integration

import (
	"os"
	"os/exec"
	"testing"
)

// interruptible is for Windows.
func interruptible(*exec.Cmd) {}

// interrupt is Ctrl-C.
func interrupt(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	noError(t, cmd.Process.Signal(os.Interrupt))
}

package integration

import (
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/windows"
)

// interruptible gives cmd a process group of its own: a console event goes to a whole group,
// and would end the tests as well.
func interruptible(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
}

// interrupt is Ctrl-Break, because Ctrl-C cannot be sent to a process group (Microsoft,
// "GenerateConsoleCtrlEvent"). To a Go program both are os.Interrupt.
func interrupt(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(cmd.Process.Pid)); err != nil {
		t.Skipf("all but the end was tested, because there is no console here: %v", err)
	}
}

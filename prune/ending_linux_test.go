//go:build !portable

package prune

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// killedEnding is that of a process that was killed.
var killedEnding = Ending{Signal: "SIGKILL"}

// tellsEndings skips the test if this kernel does not tell how other processes end.
func tellsEndings(t *testing.T) {
	t.Helper()
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Skipf("no pidfd: %v", err)
	}
	defer unix.Close(self)
	if err := unix.IoctlPidfdInfo(self, &unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}); err != nil {
		t.Skipf("it takes Linux 6.15: %v", err)
	}
}

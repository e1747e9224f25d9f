//go:build !portable

package prune

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

func TestProbeThread(t *testing.T) {
	tids, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Skipf("no /proc: %v", err)
	}
	for _, entry := range tids {
		if entry.Name() == strconv.Itoa(os.Getpid()) {
			continue
		}
		now := time.Now().UnixMilli()
		d := daemondirtest.Make(t, t.TempDir(), "thread", sidecarText(now, now), entry.Name())
		wantLiveness(t, d, Dead, PIDReused)
		return
	}
	t.Skip("no second thread")
}

// A pid that kill(2) does not know but the machine whose /proc we were told to look at
// does: a collector in a container, with the host's daemons.
func TestProbeUnderHostProc(t *testing.T) {
	proc := t.TempDir()
	if err := os.Mkdir(filepath.Join(proc, strconv.Itoa(daemondirtest.DeadPID)), 0o755); err != nil {
		t.Fatal(err)
	}
	d := daemondirtest.Make(t, t.TempDir(), "hosted", sidecarText(1, 1), strconv.Itoa(daemondirtest.DeadPID))
	wantLiveness(t, d, Dead, Exited)
	t.Setenv("HOST_PROC", proc)
	wantLiveness(t, d, Unknown, UnknownLiveness)
}

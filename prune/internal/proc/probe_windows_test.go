//go:build !portable

package proc

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
)

func TestInspectOfHandles(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pid := uint32(os.Getpid())
	q := Query{Dir: filepath.Dir(self)}
	f, h := inspect(pid, q)
	defer h.Close()
	now := uint64(time.Now().UnixMilli())
	if h == NoHandle || !f.Exists || f.Zombie || f.Thread || f.Exe != ExeInside || f.Problem != nil {
		t.Errorf("handle %d, %+v", h, f)
	}
	if f.Start.MS > now || f.Start.MS+uint64(time.Hour.Milliseconds()) < now {
		t.Errorf("started at %d, now is %d", f.Start.MS, now)
	}
	q.Dir = t.TempDir()
	f, h = inspect(pid, q)
	h.Close()
	if f.Exe != ExeElsewhere {
		t.Errorf("elsewhere: %+v", f)
	}
	q.Settles = func(start daemondir.Timestamp) bool { return start == f.Start }
	f, h = inspect(pid, q)
	h.Close()
	if !f.Settled {
		t.Errorf("settled by its start: %+v", f)
	}
}

// The system opens the process whose pid is the multiple of 4 below a number. That is none.
func TestInspectBetweenPIDs(t *testing.T) {
	pid := uint32(os.Getpid())
	for n := pid &^ 3; n < pid|3; n++ {
		if n == pid {
			continue
		}
		if f, h := inspect(n, Query{}); f.Exists || f.Err != nil || h != NoHandle {
			t.Errorf("%d, beside %d: handle %d, %+v", n, pid, h, f)
			h.Close()
		}
	}
}

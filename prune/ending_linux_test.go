//go:build !portable

package prune

import (
	"fmt"
	"maps"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir/daemondirtest"
)

// How a daemon has ended is known until another takes its place, or its dir is gone.
func TestEndings(t *testing.T) {
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Skip(err)
	}
	defer unix.Close(self)
	if err := unix.IoctlPidfdInfo(self, &unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}); err != nil {
		t.Skipf("it takes Linux 6.15: %v", err)
	}
	b := running(t, Options{SweepInterval: time.Hour})
	// end starts a daemon, and kills it. It tries again, because this process may be slow to reap it.
	tries := 0
	end := func() (daemondirtest.Dir, map[string]Ending) {
		for ; tries < 20; tries++ {
			d, cmd := daemondirtest.MakeLive(t, b.root, fmt.Sprint("d", tries))
			live, exited := len(b.log.Events("daemon.live")), len(b.log.Events("daemon.exited"))
			b.scan()
			b.wantEvents("daemon.live", live+1)
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			b.wantEvents("daemon.exited", exited+1)
			if known := b.Endings(); len(known) > 0 {
				tries++
				return d, known
			}
		}
		t.Fatal("it is never known")
		return daemondirtest.Dir{}, nil
	}
	d, known := end()
	killed := map[string]Ending{d.Name: {Signal: "SIGKILL"}}
	if !maps.Equal(known, killed) {
		t.Errorf("known: %v, want %v", known, killed)
	}
	b.handled(b.scan) // its exit was recorded
	if known := b.Endings(); !maps.Equal(known, killed) {
		t.Errorf("after its exit was recorded: %v", known)
	}
	planned := 0
	for _, row := range b.Plan(t.Context()).Rows {
		if row.Ending != nil && row.Name == d.Name && *row.Ending == killed[d.Name] {
			planned++
		}
	}
	if planned != 1 {
		t.Errorf("%d rows have it", planned)
	}

	// Another took its place, and has ended before it was seen.
	if err := d.WritePID("2147483646"); err != nil {
		t.Fatal(err)
	}
	b.scan()
	none := func() bool { return len(b.Endings()) == 0 }
	daemondirtest.Eventually(t, "it is forgotten", none)

	d, _ = end()
	b.w.Delete(d.Name)
	daemondirtest.Eventually(t, "it is forgotten with its dir", none)
}

//go:build (linux || windows) && !portable

package prune

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// How a daemon has ended is known until another takes its place, or its dir is gone.
func TestEndings(t *testing.T) {
	tellsEndings(t)
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
			if known := maps.Collect(b.Endings()); len(known) > 0 {
				tries++
				return d, known
			}
		}
		t.Fatal("it is never known")
		return daemondirtest.Dir{}, nil
	}
	d, known := end()
	killed := map[string]Ending{d.Name: killedEnding}
	if !maps.Equal(known, killed) {
		t.Errorf("known: %v, want %v", known, killed)
	}
	b.handled(b.scan) // its exit was recorded
	if known := maps.Collect(b.Endings()); !maps.Equal(known, killed) {
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
	none := func() bool { return len(maps.Collect(b.Endings())) == 0 }
	daemondirtest.Eventually(t, "it is forgotten", none)

	d, _ = end()
	b.w.Delete(d.Name)
	daemondirtest.Eventually(t, "it is forgotten with its dir", none)
}

// An exit code reads as its system writes it.
func TestEndingInWords(t *testing.T) {
	exception := uint32(0xC0000005) // no int everywhere
	for want, ended := range map[string]Ending{
		"killed by SIGKILL":    {Signal: "SIGKILL"},
		"exit code 0":          {},
		"exit code 259":        {Code: 259},
		"exit code 65535":      {Code: 65535},
		"exit code 0x10000":    {Code: 65536},
		"exit code 0xc0000005": {Code: int(exception)},
	} {
		if got := ended.String(); got != want {
			t.Errorf("%#v: %q, want %q", ended, got, want)
		}
	}
}

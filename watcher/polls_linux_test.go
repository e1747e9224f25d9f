package watcher

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// Births among many dirs beyond the limit of watches, with the interval that users have: in new
// dirs, and in old ones. GCTEST_LONG=1 makes it 50,000 dirs, and logs what polling costs.
func TestBirthsBeyondTheLimit(t *testing.T) {
	if !inChild(t, unix.CLONE_NEWUSER) {
		return
	}
	dirs, births, idle := 300, 5, time.Duration(0)
	if os.Getenv("GCTEST_LONG") != "" {
		dirs, births, idle = 50_000, 20, 10*time.Second
	}
	root := newRoot(t)
	spawnOld(t, root, dirs)
	limit(t, "max_inotify_watches", 12)
	w := start(t, setup{Root: root, PollInterval: DefaultPollInterval})
	w.waitFor("watch.degraded", 1)
	if idle > 0 {
		time.Sleep(idle)
		began := processTime(t)
		time.Sleep(idle)
		t.Logf("%d dirs: polling takes %.2f%% of a processor", dirs, 100*float64(processTime(t)-began)/float64(idle))
	}
	for kind, name := range map[string]func(i int) string{
		"new": func(i int) string { return fmt.Sprint("new", i) },
		"old": func(i int) string { return fmt.Sprint("daemon", dirs-1-i) },
	} {
		var took []time.Duration
		for i := range births {
			_, process := daemondirtest.MakeLive(t, root, name(i))
			began := time.Now()
			w.waitPID(name(i), process.Process.Pid)
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		t.Logf("births in %s dirs among %d: median %v, longest %v", kind, dirs, took[births/2], took[births-1])
	}
	if w.count("watch.restored") > 0 {
		t.Error("nothing was polled")
	}
	w.stop()
}

// processTime is the processor time that this process has used.
func processTime(t *testing.T) time.Duration {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// A sidecar that is under somebody's lease for long costs a few reads of its own, and holds up
// nobody else's.
func TestSidecarUnderALongLease(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	spawn(t, root, "b", 1)
	held := lease(t, sidecarPath(root, "a"))
	w := start(t, setup{Root: root})
	w.waitPID("b", 1)
	before := w.Totals().Reads
	const during = time.Second
	for began, i := time.Now(), 0; time.Since(began) < during; i++ {
		daemondirtest.WriteFile(t, filepath.Join(root, "b", daemondir.PIDFileName), strconv.Itoa(100+i))
		w.waitPID("b", 100+i)
		time.Sleep(100 * time.Millisecond)
		if i > 0 {
			before += 2 // a write of a pid file is at most two events
		}
	}
	if reads := w.Totals().Reads - before; reads > 25 {
		t.Errorf("%d reads in %v", reads, during)
	}
	held.Close()
	w.waitPID("a", 1)
}

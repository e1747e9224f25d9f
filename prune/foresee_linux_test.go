//go:build !portable

package prune

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// list and explain know what keeps a dir that is due, and who.
func TestForeseeLockAndUser(t *testing.T) {
	b := newBench(t, Options{})
	locked := daemondirtest.MakeDead(t, b.root, "locked", 2*time.Hour)
	used := daemondirtest.MakeDead(t, b.root, "used", 2*time.Hour)
	daemondirtest.MakeDead(t, b.root, "free", 2*time.Hour)
	dir, err := os.Open(locked.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	cmd.Dir = used.Path()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	b.scan()
	for _, row := range b.Plan(t.Context()).Rows {
		want := map[string]Row{
			"locked": {Decision: Keep, Reason: Locked},
			"used":   {Decision: Keep, Reason: InUse},
			"free":   {Decision: Remove, Reason: Exited},
		}[row.Name]
		if row.Decision != want.Decision || row.Reason != want.Reason {
			t.Errorf("%s: %s because %s, want %s because %s", row.Name, row.Decision, row.Reason, want.Decision, want.Reason)
		}
	}
	for name, who := range map[string]int{"locked": os.Getpid(), "used": cmd.Process.Pid} {
		x, _ := b.Explain(name)
		said := false
		for _, c := range x.Checks {
			said = said || c.Outcome == Kept && strings.Contains(c.Details, "pid "+strconv.Itoa(who)+" ")
		}
		if !said {
			t.Errorf("%s: it is not said that pid %d keeps it: %+v", name, who, x.Checks)
		}
	}
}

// Looking at dirs that are due keeps nobody from locking them, neither a collector that
// is about to remove them nor a manager that protects them.
func TestForeseeingTakesNoLock(t *testing.T) {
	b := newBench(t, Options{DryRun: true})
	d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	b.scan()
	dir, err := os.Open(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	stop := make(chan struct{})
	refused, tries := 0, 0
	var locking sync.WaitGroup
	locking.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			tries++
			if fsys.Flock(int(dir.Fd())) != nil {
				refused++
				continue
			}
			_ = unix.Flock(int(dir.Fd()), unix.LOCK_UN)
		}
	})
	m := newTestRemover(t, b.root, true)
	m.locks = map[uint64]string{} // without those of the goroutine above
	for range 2000 {
		if r := m.remove(entryOf(t, d)); r.kept != "" {
			t.Errorf("kept because %s (%v)", r.kept, r.err)
			break
		}
	}
	b.Plan(t.Context())
	b.Explain("a")
	close(stop)
	locking.Wait()
	if tries == 0 || refused > 0 {
		t.Errorf("%d of %d locks were refused", refused, tries)
	}
}

// Without the table it is not known, which is said and keeps nothing.
func TestForeseeWithoutTable(t *testing.T) {
	b := newBench(t, Options{})
	d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	m := newTestRemover(t, b.root, true)
	m.locks, m.locksErr = nil, unix.EACCES
	if r := m.remove(entryOf(t, d)); r.kept != "" {
		t.Errorf("kept because %s", r.kept)
	}
	for _, c := range m.explain(entryOf(t, d), true) {
		if want := c.Check == CheckLock; (c.Outcome == Undetermined) != want {
			t.Errorf("%s is %s", c.Check, c.Outcome)
		}
	}
}

// Nothing is opened for writing, changed or made by who only looks: a plan, or a dry run.
func TestForeseeingWritesNothing(t *testing.T) {
	b := newBench(t, Options{DryRun: true})
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Skipf("no inotify: %v", err)
	}
	defer unix.Close(fd)
	dead := daemondirtest.MakeDead(t, b.root, "dead", 2*time.Hour)
	live, _ := daemondirtest.MakeLive(t, b.root, "live")
	for _, dir := range []string{b.root, dead.Path(), live.Path()} {
		// A close after it was open for writing is an event, too.
		if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_ALL_EVENTS&^(unix.IN_OPEN|unix.IN_ACCESS|unix.IN_CLOSE_NOWRITE)); err != nil {
			t.Fatal(err)
		}
	}
	b.scan()
	if rows := b.Plan(t.Context()).Rows; len(rows) != 2 {
		t.Errorf("%+v", rows)
	}
	if stats, _ := b.sweep(); stats.Removed != 1 || stats.Refreshed != 1 {
		t.Errorf("%+v", stats)
	}
	var events [4096]byte
	if n, err := unix.Read(fd, events[:]); err != unix.EAGAIN {
		t.Errorf("events: %q, %v", events[:max(n, 0)], err)
	}
	f, err := os.OpenFile(dead.Sidecar(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if n, err := unix.Read(fd, events[:]); n <= 0 {
		t.Errorf("a sidecar was open for writing, and no event says so: %v", err)
	}
}

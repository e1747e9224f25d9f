//go:build !portable

package prune

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// list and explain know what keeps a dir that is due, and who.
func TestForeseeLockAndUser(t *testing.T) {
	b := newBench(t, Options{})
	locked := newDead(t, b.root, "locked", 2*time.Hour)
	used := newDead(t, b.root, "used", 2*time.Hour)
	newDead(t, b.root, "free", 2*time.Hour)
	dir, err := os.Open(locked.path())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	cmd.Dir = used.path()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	b.scan()
	for _, row := range b.List() {
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
			said = said || c.Answer == Kept && strings.Contains(c.Details, "pid "+strconv.Itoa(who)+" ")
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
	d := newDead(t, b.root, "a", 2*time.Hour)
	b.scan()
	dir, err := os.Open(d.path())
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
			if flock(int(dir.Fd())) != nil {
				refused++
				continue
			}
			_ = unix.Flock(int(dir.Fd()), unix.LOCK_UN)
		}
	})
	m := newTestRemover(t, b.root, true)
	m.locks = nil // those of the goroutine above
	for range 2000 {
		if r := m.remove(d.entry()); r.kept != "" {
			t.Errorf("kept because %s (%v)", r.kept, r.err)
			break
		}
	}
	b.List()
	b.Explain("a")
	close(stop)
	locking.Wait()
	if tries == 0 || refused > 0 {
		t.Errorf("%d of %d locks were refused", refused, tries)
	}
}

// The table of locks is read for the file system at hand, whatever holds the lock.
func TestFlocks(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "a")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	for _, how := range []int{unix.LOCK_SH, unix.LOCK_EX} {
		if err := unix.Flock(int(f.Fd()), how); err != nil {
			t.Fatal(err)
		}
		locks, err := flocks(f)
		if err != nil || locks[st.Ino] != strconv.Itoa(os.Getpid()) {
			t.Errorf("lock %d: %q, %v; want pid %d", how, locks[st.Ino], err, os.Getpid())
		}
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if locks, err := flocks(f); err != nil || locks[st.Ino] != "" {
		t.Errorf("unlocked: %q, %v", locks[st.Ino], err)
	}
}

// Without the table it is not known, which is said and keeps nothing.
func TestForeseeWithoutTable(t *testing.T) {
	b := newBench(t, Options{})
	d := newDead(t, b.root, "a", 2*time.Hour)
	m := newTestRemover(t, b.root, true)
	m.locks, m.locksErr = nil, unix.EACCES
	if r := m.remove(d.entry()); r.kept != "" {
		t.Errorf("kept because %s", r.kept)
	}
	for _, c := range m.explain(d.entry(), true) {
		if want := c.Question == AskLock; (c.Answer == Untold) != want {
			t.Errorf("%s is %s", c.Question, c.Answer)
		}
	}
}

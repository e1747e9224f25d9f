package prune

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// A lock keeps the dir although the kernel's table does not say whose it is: of another
// pid namespace, or one that may not be read.
func TestKeepLockedByWhoIsNotInTheTable(t *testing.T) {
	root := t.TempDir()
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	dir, err := os.Open(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	m := newTestRemover(t, root, false)
	m.locks = map[uint64]string{}
	if r := m.remove(entryOf(t, d)); r.kept != Locked || r.user != 0 || !d.Exists() {
		t.Errorf("%+v, want that it is kept for a lock", r)
	}
	if portable {
		return // which reads no table
	}
	m.locks = nil
	for _, m.dryRun = range []bool{false, true} {
		if r := m.remove(entryOf(t, d)); r.kept != Locked || r.user != int32(os.Getpid()) {
			t.Errorf("%+v, want that pid %d has locked it", r, os.Getpid())
		}
	}
}

// What another process has a lease on is in use: it is being written.
func TestKeepWhileSidecarIsLeased(t *testing.T) {
	root := t.TempDir()
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	needLeases(t, d)
	e, m := entryOf(t, d), newTestRemover(t, root, false)
	f := openSidecar(t, d, daemondir.ReadOnly)
	if err := fsys.TakeLease(f); err != nil {
		t.Fatal(err)
	}
	if r := m.remove(e); r.kept != InUse || r.err != nil || r.details != "its sidecar is being written" || !d.Exists() {
		t.Errorf("%+v, want in use", r)
	}
	f.Close()
	if r := m.remove(e); r.kept != "" {
		t.Errorf("%+v, want that it is removed", r)
	}
}

// A dir that is another file system's is kept as such even before the mounts are looked at: a
// subvolume of btrfs is none of them.
func TestKeepAnotherDevice(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root")
	}
	root := t.TempDir()
	d := daemondirtest.Dir{Root: root, Name: "a"}
	if err := d.Mkdir(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", d.Path(), "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("no tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(d.Path(), unix.MNT_DETACH) })
	daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	m := newTestRemover(t, root, false)
	if r := m.remove(entryOf(t, d)); r.kept != MountPoint || r.details != "it is on another device than the root" {
		t.Errorf("%+v, want that it is kept for its device", r)
	}
}

// Modification times count but for the files that the spawner and this program write.
func TestSpawners(t *testing.T) {
	for _, row := range []struct {
		dir, file string
		want      bool
	}{
		{"web", "web", true},
		{"web", "web.exe", true},
		{"web", "web.daemon.json", true},
		{"web", "daemon.pid", true},
		{"web", "log", false},
		{"web", "web.log", false},
		{"web", "db", false},
		{"web", "db.daemon.json", false},
		{".pruned-web", "web", true},
		{".pruned-web", "web.exe", true},
		{".pruned-web", "web.daemon.json", true},
		{".pruned-web", "daemon.pid", true},
		{".pruned-web", ".pruned-web", false},
	} {
		if got := spawners(row.dir, row.file); got != row.want {
			t.Errorf("%s in %s: %v, want %v", row.file, row.dir, got, row.want)
		}
	}
}

// What was found is said with what there is to say, and when another look can end otherwise.
func TestFindingsInWords(t *testing.T) {
	root := t.TempDir()
	d := daemondirtest.MakeDead(t, root, "a", 20*time.Hour)
	log := filepath.Join(d.Path(), "log")
	daemondirtest.WriteFile(t, log, "")
	m := newTestRemover(t, root, false)
	m.staleAfter = 5 * time.Hour
	daemondirtest.MakeOld(t, d.Path(), 20*time.Hour)
	written := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := os.Chtimes(log, written, written); err != nil {
		t.Fatal(err)
	}
	m.now = func() time.Time { return written.Add(time.Hour + 2*time.Minute + 3*time.Second) }
	findNoUsers(t, m)
	want := "log was written 1h 2m ago; 5h must pass"
	if r := m.remove(entryOf(t, d)); r.kept != RecentlyWritten || r.details != want || !r.notBefore.Equal(written.Add(5*time.Hour)) {
		t.Errorf("%+v; want %q", r, want)
	}
	m.now = func() time.Time { return written.Add(-time.Second) }
	want = "the modification time of log is in the future"
	if r := m.remove(entryOf(t, d)); r.kept != RecentlyWritten || r.details != want || !r.notBefore.IsZero() {
		t.Errorf("%+v; want %q", r, want)
	}
	for n, want := range []string{"", "none found; 1 process of another user could not be inspected",
		"none found; 2 processes of other users could not be inspected"} {
		m.users.Unreadable = n
		if f := m.checkUsers(&attempt{e: entryOf(t, d)}); f.kept != "" || f.details != want {
			t.Errorf("%d unreadable: %+v, want %q", n, f, want)
		}
	}
}

// Each error that keeps a dir has its reason. What is gone or busy is no failure.
func TestReasonsOfErrors(t *testing.T) {
	for _, row := range []struct {
		err    error
		reason Reason
		fails  bool
	}{
		{fs.ErrNotExist, Gone, false},
		{syscall.ESTALE, Gone, false},
		{daemondir.ErrBusy, InUse, false},
		{syscall.EACCES, Permission, true},
		{syscall.EPERM, Permission, true},
		{fsys.ErrReplaced, Changed, true},
		{fsys.ErrMounted, MountPoint, true},
		{fsys.ErrLowerLayer, LowerLayer, true},
		{syscall.EIO, Failed, true},
		{syscall.EROFS, Failed, true},
	} {
		err := fmt.Errorf("trying: %w", row.err)
		if r := fail(err); r.kept != row.reason || (r.err == err) != row.fails {
			t.Errorf("%v: %+v, want %s", row.err, r, row.reason)
		}
		if f := refusal(err); f.kept != row.reason || (f.err == err) != row.fails {
			t.Errorf("%v refuses a check: %+v, want %s", row.err, f, row.reason)
		}
	}
}

// A pass whose users cannot be found does not begin. If the root is moved each time, it does,
// and the first dir looks again.
func TestRemoverNeedsToKnowTheUsers(t *testing.T) {
	parent := t.TempDir()
	root := filepath.Join(parent, "root")
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	e, c := entryOf(t, d), testCollector(t, root)
	t.Run("no process table", func(t *testing.T) {
		t.Setenv("HOST_PROC", filepath.Join(parent, "none"))
		if m, err := c.newRemover(time.Hour, false); err == nil {
			m.close()
			t.Error("no error")
		} else if errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v is taken for a root that is gone", err)
		}
	})
	if portable {
		return // a root that is moved away and back is not noticed there
	}
	moves := 0
	c.reached = func(step string) {
		if step != "looking for users" {
			return
		}
		moves++
		if err := errors.Join(os.Rename(root, root+"-away"), os.Rename(root+"-away", root)); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * fsys.Tick)
	}
	m, err := c.newRemover(time.Hour, false)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	if moves < 2 {
		t.Errorf("it looked %d times", moves)
	}
	if r := m.remove(e); r.kept != Changed || !d.Exists() {
		t.Errorf("%+v, want that it is kept, because the root is being moved", r)
	}
	m.reached = nil
	if r := m.remove(e); r.kept != "" || m.usersTook <= 0 {
		t.Errorf("%+v, the users were found in %v", r, m.usersTook)
	}
}

// The first process of a container may be a daemon: 1 is a pid as any other.
func TestProbeFirstPID(t *testing.T) {
	d := daemondirtest.Make(t, t.TempDir(), "first", `{"last_seen_unix_ms": 1}`, "1")
	wantLiveness(t, d, Alive, Running)
}

// Nothing stays open after a pass, whatever came of each dir.
func TestPassesLeaveNothingOpen(t *testing.T) {
	if portable {
		t.Skip("gopsutil leaves pidfds to the garbage collector, on Linux only")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which would close what has been forgotten
	b := newBench(t, Options{InvalidAfter: time.Hour})
	live, _ := daemondirtest.MakeLive(t, b.root, "live")
	open := daemondirtest.MakeDead(t, b.root, "open", 2*time.Hour)
	daemondirtest.MakeDead(t, b.root, "recent", time.Minute)
	written := daemondirtest.MakeDead(t, b.root, "written", 2*time.Hour)
	daemondirtest.WriteFile(t, filepath.Join(written.Path(), "log"), "")
	daemondirtest.Make(t, b.root, "invalid", "x", "")
	// It is alive, and stale by its sidecar: only the last look finds that.
	again, _ := daemondirtest.MakeLive(t, b.root, "again")
	daemondirtest.WriteFile(t, again.Sidecar(), `{"last_seen_unix_ms": 1}`)
	f, err := os.Open(open.Sidecar())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := time.Now()
	b.now = func() time.Time { at = at.Add(2 * time.Millisecond); return at }
	descriptors := func() (open []string) {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skipf("no /proc: %v", err)
		}
		for _, fd := range fds {
			// Not pipes and sockets, which are the test's own.
			if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && (strings.HasPrefix(to, b.root) || strings.Contains(to, "pidfd")) {
				open = append(open, to)
			}
		}
		return open
	}
	pass := func() {
		for range 3 {
			daemondirtest.MakeDead(t, b.root, "dead", 2*time.Hour)
			if stats, _ := b.sweep(); stats.Removed != 1 || stats.Refreshed == 0 {
				t.Errorf("%+v, want one removed, and some refreshed", stats)
			}
			m, err := b.newRemover(time.Hour, false)
			if err != nil {
				t.Fatal(err)
			}
			findNoUsers(t, m)
			if r := m.remove(entryOf(t, again)); r.kept == "" {
				t.Error("a live daemon's dir is removed")
			}
			m.close()
		}
		if wrote, err := refresh(b.root, entryOf(t, live), 1); !wrote || err != nil {
			t.Errorf("wrote %v, %v", wrote, err)
		}
		if _, err := refresh(b.root, entryOf(t, open), 1); !errors.Is(err, errNotNow) {
			t.Errorf("the open sidecar: %v", err)
		}
		planner := b.NewPlanner()
		defer planner.Close()
		if row := (Row{Name: "live"}); planner.Measure(&row) != nil || row.Bytes == nil {
			t.Error("a live daemon's dir has no size")
		}
	}
	pass()
	before := descriptors()
	pass()
	if after := descriptors(); len(after) > len(before) {
		t.Errorf("open before:\n%q\nand after:\n%q", before, after)
	}
}

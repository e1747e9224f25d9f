package integration

// Roots on network file systems: what NFS answers is injected, FUSE is mounted.

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

const lockFile = ".runtimegc.lock"

// mustBeLockFile fails the test unless the root has a lock file that only its owner may open.
func mustBeLockFile(t *testing.T, root string) {
	t.Helper()
	if info, err := os.Lstat(filepath.Join(root, lockFile)); err != nil || info.Mode() != 0o600 {
		t.Errorf("want a lock file of mode 0600: %v %v", info, err)
	}
}

// mustBeRefused fails the test unless a second collector is told that w has the root.
func mustBeRefused(t *testing.T, o outcome, w *watchProcess) {
	t.Helper()
	holder := regexp.MustCompile(`\bpid ` + strconv.Itoa(w.cmd.Process.Pid) + `\n`)
	if o.code != 1 || !holder.MatchString(o.stderr) {
		t.Errorf("exit code %d, want 1 and %v: %s", o.code, holder, o.stderr)
	}
}

// Where a directory cannot be locked (EBADF), a file in it is.
func TestRootThatCannotBeLocked(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("due", stale)
	by := injecting(t, "flock:error=EBADF", root)
	for _, args := range [][]string{{"list"}, {"prune", "--dry-run"}} {
		runBy(t, by, append(args, "--root", root)...).must(t)
	}
	if _, err := os.Lstat(filepath.Join(root, lockFile)); err == nil {
		t.Error("there is a lock file, although nothing was to be changed")
	}
	w := startWatchBy(t, by, &syscall.SysProcAttr{}, root, "--sweep-interval", "200ms")
	w.next("daemon.removed", "due")
	mustBeLockFile(t, root)
	mustBeRefused(t, runBy(t, by, "watch", "--root", root), w)
	w.sweeps(1)
	w.stop(syscall.SIGTERM)
	mustBeLockFile(t, root)
	for _, e := range w.all("", "") {
		if strings.Contains(e.line, lockFile) {
			t.Errorf("it is about the lock file: %s", e.line)
		}
	}
	o := runBy(t, by, "prune", "--root", root).must(t)
	if !strings.HasPrefix(o.stdout, "0 scanned") {
		t.Errorf("the lock file counts: %s", o.stdout)
	}
	noError(t, os.Remove(filepath.Join(root, lockFile)))
	noError(t, syscall.Mkfifo(filepath.Join(root, lockFile), 0o600))
	if o := runBy(t, by, "prune", "--root", root); o.code != 1 || !strings.Contains(o.stderr, "not a regular file") {
		t.Errorf("a FIFO in its place: exit code %d, want 1: %s", o.code, o.stderr)
	}
}

// Where it cannot be told whether somebody has a lock (ENOLCK), it counts as held.
func TestNoLocksAvailable(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("due", stale)
	o := runBy(t, injecting(t, "flock:error=ENOLCK", root), "prune", "--root", root)
	if o.code != 1 || !strings.Contains(o.stderr, "no locks available") {
		t.Errorf("the root: exit code %d, want 1: %s", o.code, o.stderr)
	}
	w := startWatchBy(t, injecting(t, "flock:error=ENOLCK", s.dir("due")), &syscall.SysProcAttr{}, root)
	if e := w.next("daemon.kept", "due"); e.reason != "failed" {
		t.Errorf("want reason failed: %s", e.line)
	}
	w.stop(syscall.SIGTERM)
	w.never("daemon.removed", "")
}

// A daemon dir that cannot be locked exclusively may have a shared lock all the same.
func TestDaemonDirThatCannotBeLocked(t *testing.T) {
	t.Parallel()
	if !inOwnMounts(t) {
		return
	}
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("locked", stale)
	s.dead("due", stale)
	flockShared(t, s.dir("locked"))
	by := injecting(t, "flock:error=EBADF", s.dir("locked"), s.dir("due"))
	w := startWatchBy(t, by, &syscall.SysProcAttr{}, root)
	if e := w.next("daemon.kept", "locked"); e.reason != "locked" {
		t.Errorf("want reason locked: %s", e.line)
	}
	w.next("daemon.removed", "due")
	w.stop(syscall.SIGTERM)

	// And if that cannot be told, it stays.
	s.dead("due", stale)
	mount(t, os.DevNull, "/proc/locks", "", unix.MS_BIND, "")
	w = startWatchBy(t, by, &syscall.SysProcAttr{}, root)
	if e := w.next("daemon.kept", "due"); e.reason != "failed" {
		t.Errorf("want reason failed: %s", e.line)
	}
	// Nor who holds the root.
	o := run(t, "watch", "--root", root)
	if o.code != 1 || !strings.Contains(o.stderr, "not visible from here") {
		t.Errorf("without a table of locks: exit code %d, want 1: %s", o.code, o.stderr)
	}
	w.stop(syscall.SIGTERM)
	w.never("daemon.removed", "")
}

// Without leases (EINVAL) a refresh replaces the file, and a removal looks twice.
func TestNoLeases(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("due", stale)
	began := time.Now()
	s.spawnAs("live", daemondirtest.Sidecar(began, time.Time{}))
	before := ownership(t, s.sidecar("live"))
	by := injecting(t, "fcntl:error=EINVAL", s.sidecar("due"), s.sidecar("live"))
	w := startWatchBy(t, by, &syscall.SysProcAttr{}, root, "--sweep-interval", "1h") // a second refresh may get the first inode again
	w.next("sidecar.refreshed", "live")
	w.next("daemon.removed", "due")
	w.stop(syscall.SIGTERM)
	e, err := daemondir.Read(root, "live")
	if err != nil || e.LastSeen.MS < uint64(began.UnixMilli()) {
		t.Errorf("not refreshed: %+v, %v", e, err)
	}
	after := ownership(t, s.sidecar("live"))
	if after.Ino == before.Ino {
		t.Error("it was written in place, under a lease")
	}
	before.Ino = after.Ino
	if after != before {
		t.Errorf("%+v, want %+v", after, before)
	}
}

// NFS keeps a removed file that is still open, and does not say so by its name alone: it
// cannot be removed (EBUSY). The dir stays out of sight until it can.
func TestRemovedFileIsStillOpen(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	const open = ".nfs000000000001"
	s.dead("due", stale)
	daemondirtest.WriteFile(t, filepath.Join(s.dir("due"), open), "")
	daemondirtest.MakeOld(t, filepath.Join(s.dir("due"), open), stale) // not the trampoline: all tests have links to it
	// Of this one nothing else is left, not even the sidecar.
	bare := filepath.Join(root, daemondir.QuarantinePrefix+"bare")
	noError(t, os.Mkdir(bare, 0o755))
	for _, name := range []string{".nfs2", ".fuse_hidden2"} {
		daemondirtest.WriteFile(t, filepath.Join(bare, name), "")
	}

	by := injecting(t, "unlinkat:error=EBUSY", open)
	args := []string{"--sweep-interval", "100ms"}
	w := startWatchBy(t, by, &syscall.SysProcAttr{}, root, args...)
	for _, name := range []string{"due", "bare"} {
		if e := w.next("daemon.kept", name); e.reason != "in_use" || e.has("error") {
			t.Errorf("want reason in_use: %s", e.line)
		}
	}
	w.sweeps(3)
	if _, err := os.Lstat(filepath.Join(root, daemondir.QuarantinePrefix+"due", open)); err != nil {
		t.Error(err)
	}
	noError(t, os.Remove(filepath.Join(bare, ".nfs2")))
	w.sweeps(1)
	noError(t, os.Remove(filepath.Join(bare, ".fuse_hidden2")))
	w.next("daemon.removed", "bare")
	w.stop(syscall.SIGTERM)
	w.never("daemon.removed", "due")
	loggedTimes(t, w, 1, "daemon.kept", "due")

	// A process that has such a file open is found, and does not bring the dir back.
	f, err := os.Open(filepath.Join(root, daemondir.QuarantinePrefix+"due", open))
	noError(t, err)
	defer f.Close()
	w = startWatch(t, root, args...)
	if e := w.next("daemon.kept", "due"); e.reason != "in_use" {
		t.Errorf("want reason in_use: %s", e.line)
	}
	w.sweeps(1)
	if got := names(t, root); !slices.Equal(got, []string{daemondir.QuarantinePrefix + "due"}) {
		t.Errorf("there is %q", got)
	}
	f.Close()
	w.next("daemon.removed", "due")
	w.stop(syscall.SIGTERM)
	if left := names(t, root); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
}

// On NFS what another host has removed is ESTALE. Nobody is told of an error.
func TestRemovedByAnotherHost(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("due", stale)
	s.spawn("live")
	w := startWatch(t, root)
	w.next("daemon.live", "live")
	w.next("daemon.removed", "due")
	w.stop(syscall.SIGTERM)

	s.dead("due", stale)
	by := injecting(t, "renameat2:error=ESTALE", "due")
	w = startWatchBy(t, by, &syscall.SysProcAttr{}, root)
	w.next("daemon.added", "due")
	w.sweeps(0)
	w.stop(syscall.SIGTERM)
	w.never("daemon.kept", "")
	w.never("daemon.removed", "")

	by = injecting(t, "openat2:error=ESTALE", "live/live.daemon.json")
	w = startWatchBy(t, by, &syscall.SysProcAttr{}, root, "--sweep-interval", "100ms")
	w.next("daemon.live", "live")
	w.sweeps(2)
	w.stop(syscall.SIGTERM)
	w.never("sidecar.unwritable", "")
	w.never("sidecar.refreshed", "live")

	for _, at := range [][2]string{
		{"openat:error=ESTALE", s.dir("live")},
		{"openat:error=ESTALE", "live.daemon.json"},
		{"pread64:error=ESTALE", s.sidecar("live")},
	} {
		w = startWatchBy(t, injecting(t, at[0], at[1]), &syscall.SysProcAttr{}, root, "--sweep-interval", "100ms")
		for began := time.Now(); time.Since(began) < 1500*time.Millisecond; { // it is invalid if it is so for a second
			w.sweeps(1)
		}
		w.stop(syscall.SIGTERM)
		for _, event := range []string{"sidecar.invalid", "watch.degraded", "daemon.removed"} {
			w.never(event, "")
		}
	}
}

// A root on FUSE: lock, birth, refresh and removal.
func TestFUSERoot(t *testing.T) {
	t.Parallel()
	if !inOwnMounts(t) {
		return
	}
	mount := mountFUSE(t)
	from, root := mount.from, mount.at

	s := newSpawner(t, root)
	seen := daemondirtest.Sidecar(ago(stale+time.Hour), ago(stale)) // else nobody knows that it was not alive elsewhere
	s.leave("due", seen, noProcess)
	run(t, "list", "--root", root).must(t)
	run(t, "prune", "--dry-run", "--root", root).must(t)
	if _, err := os.Lstat(filepath.Join(from, lockFile)); err == nil {
		t.Error("there is a lock file, although nothing was to be changed")
	}
	w := startWatch(t, root, "--sweep-interval", "200ms")
	w.next("daemon.removed", "due")
	mustBeLockFile(t, from)
	mustBeRefused(t, run(t, "watch", "--root", root), w)
	pid := strconv.Itoa(bystander(t, "/")) // of one that begins now
	s.leave("live", daemondirtest.Sidecar(time.Now(), time.Time{}), pid)
	w.next("daemon.live", "live")
	w.next("sidecar.refreshed", "live")
	noError(t, os.Mkdir(s.dir("used"), 0o755))
	bystander(t, s.dir("used"))
	s.leave("used", seen, noProcess)
	if e := w.next("daemon.kept", "used"); e.reason != "in_use" {
		t.Errorf("want reason in_use: %s", e.line)
	}
	w.stop(syscall.SIGTERM)
	if left := names(t, from); !slices.Equal(left, []string{lockFile, "live", "used"}) {
		t.Errorf("left over: %q", left)
	}
	w.never("sidecar.unwritable", "")

	// Another host that has the lock has that of the file, not that of our directory. Then
	// there is one follower here.
	flock, err := exec.LookPath("flock")
	if err != nil {
		t.Skip("flock is not installed")
	}
	self := ownProgram(t)
	holder := exec.Command(self, inNamespaceArg, "", "", "", flock, filepath.Join(root, lockFile), "sleep", "1000")
	holder.SysProcAttr = ownNamespace(t)
	holder.SysProcAttr.Pdeathsig = syscall.SIGKILL
	noError(t, holder.Start())
	t.Cleanup(func() {
		holder.Process.Kill()
		holder.Wait()
	})
	daemondirtest.Eventually(t, "the file is locked", func() bool {
		return exec.Command(flock, "--nonblock", filepath.Join(root, lockFile), "true").Run() != nil
	})
	w = startWatch(t, root, "--sweep-interval", "200ms")
	if e := w.next("root.found", ""); e.role() != "follower" {
		t.Errorf("want role follower: %s", e.line)
	}
	mustBeRefused(t, run(t, "watch", "--root", root), w)
	w.sweeps(1)
	mustBeRefused(t, run(t, "watch", "--root", root), w)
	holder.Process.Kill()
	w.next("root.taken_over", "")
	w.stop(syscall.SIGTERM)
}

// names returns what is in dir, in order.
func names(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	noError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

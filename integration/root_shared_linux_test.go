package integration

// A root whose daemons may run elsewhere, and a /proc that tells of another pid namespace.

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir/daemondirtest"
)

// A watch on a shared root keeps what it cannot tell to be dead, removes what a collector has
// seen alive, and removes what it has itself seen exit.
func TestWatchOfASharedRoot(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	old := ago(stale)
	pid := strconv.Itoa(daemondirtest.DeadPID)
	s.leave("elsewhere", daemondirtest.Sidecar(old, time.Time{}), pid)
	s.leave("same", daemondirtest.Sidecar(old, old), pid)
	s.leave("seen", daemondirtest.Sidecar(old, old.Add(time.Minute)), pid)
	before := daemondirtest.ReadFile(t, s.sidecar("elsewhere"))
	// Its clock was set by years after it was spawned.
	skewed := s.spawnAs("skewed", daemondirtest.Sidecar(ago(10*365*24*time.Hour), time.Time{}))
	w := startWatch(t, root, "--shared-root", "yes", "--stale-after", "1s", "--sweep-interval", "100ms")
	if e := w.all("watch.started", "")[0]; e.fields["shared_root"] != true || e.fields["shared_root_because"] != "--shared-root yes" {
		t.Errorf("it does not say that the root is shared: %s", e.line)
	}
	w.next("daemon.removed", "seen")
	for _, name := range []string{"elsewhere", "same"} {
		if e := w.next("daemon.kept", name); e.reason != "never_seen" {
			t.Errorf("want never_seen: %s", e.line)
		}
	}
	// It exits before or after a sweep has refreshed it.
	brief := s.spawn("brief")
	w.next("daemon.live", "brief")
	brief.kill()
	w.next("daemon.exited", "brief")
	w.next("daemon.removed", "brief")
	w.sweeps(2)
	w.stop(syscall.SIGTERM)
	for _, name := range []string{"elsewhere", "same", "skewed"} {
		w.never("daemon.removed", name)
	}
	loggedTimes(t, w, 1, "daemon.kept", "elsewhere")
	if daemondirtest.ReadFile(t, s.sidecar("elsewhere")) != before {
		t.Error("what is not known to be alive was refreshed")
	}
	if row := listJSON(t, root, "--shared-root", "yes")["skewed"]; row.text(t, "state") != "alive" || row.number(t, "pid") != int64(skewed.pid) {
		t.Errorf("skewed is %s", row)
	}
}

// No sweep has refreshed this daemon: all that is known of its life is that the watch saw it
// exit. That is recorded, so that others know it as well.
func TestWatchedExitInASharedRoot(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	noError(t, os.MkdirAll(root, 0o755))
	s := newSpawner(t, root)
	w := startWatch(t, root, "--shared-root", "yes", "--sweep-interval", "1h")
	w.next("sweep.done", "")
	brief := s.spawn("brief")
	w.next("daemon.live", "brief")
	brief.kill()
	w.next("daemon.exited", "brief")
	daemondirtest.Eventually(t, "the exit is recorded", func() bool {
		return listJSON(t, root, "--shared-root", "yes")["brief"].text(t, "reason") == "not_stale"
	})
	w.stop(syscall.SIGTERM)
	_, rows := pruneJSON(t, root, "--shared-root", "yes", "--stale-after", "1ms")
	if row := rows["brief"]; row.text(t, "decision") != "remove" || row.text(t, "reason") != "exited" {
		t.Errorf("%s", row)
	}
}

// A new pid namespace whose /proc is still that of the old one: a pid means one process here
// and another one there. Nothing is refreshed or removed, and that is said once.
func TestForeignProc(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	old := ago(stale)
	s.spawnAs("live", daemondirtest.Sidecar(time.Now(), old))
	s.spawnAs("live-stale", daemondirtest.Sidecar(old, old))
	s.leave("dead", daemondirtest.Sidecar(old, old.Add(time.Minute)), strconv.Itoa(daemondirtest.DeadPID))
	s.leave("no-pid", daemondirtest.Sidecar(old, old.Add(time.Minute)), "")
	s.leave("first", daemondirtest.Sidecar(old, old.Add(time.Minute)), "1") // there, the watch itself
	names := []string{"live", "live-stale", "dead", "no-pid", "first"}
	s.leave("left", daemondirtest.Sidecar(old, old.Add(time.Minute)), "") // by an interrupted removal
	noError(t, os.Rename(s.dir("left"), s.dir(".pruned-left")))
	noError(t, os.Mkdir(s.dir(".pruned-empty"), 0o755))
	inside := func() *syscall.SysProcAttr {
		attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
		if os.Geteuid() != 0 {
			attr.Cloneflags |= unix.CLONE_NEWUSER
			attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
			attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
		}
		return attr
	}
	needNamespaces(t, inside())
	before := snapshot(t, root)

	const event = `"event":"proc.foreign"`
	for _, args := range [][]string{{"prune"}, {"prune", "--dry-run"}, {"list"}} {
		o := runAs(t, inside(), append(args, "--root", root, "--log-format", "json")...).must(t)
		if n := strings.Count(o.stderr, event); n != 1 || strings.Count(o.stderr, "\n") != 1 {
			t.Errorf("%v says it %d times:\n%s", args, n, o.stderr)
		}
		if args[0] == "list" && strings.Count(o.stdout, " unknown ") != len(names)+1 {
			t.Errorf("list prints\n%s", o.stdout)
		}
	}
	o := runAs(t, inside(), "list", "--root", root, "--log-format", "json", "dead").must(t)
	if n := strings.Count(o.stderr, event); n != 1 {
		t.Errorf("list dead says it %d times:\n%s", n, o.stderr)
	}
	if !strings.Contains(o.stdout, "dead is unknown") || !strings.Contains(o.stdout, "/proc belongs to another pid namespace") {
		t.Errorf("list dead prints\n%s", o.stdout)
	}
	w := startWatchAs(t, inside(), root, "--sweep-interval", "50ms")
	for _, name := range names {
		w.next("daemon.added", name)
	}
	w.sweeps(3)
	w.stop(syscall.SIGTERM)
	loggedTimes(t, w, 1, "proc.foreign", "")
	for _, kind := range []string{"daemon.live", "daemon.exited", "daemon.removed", "sidecar.refreshed"} {
		w.never(kind, "")
	}
	before.mustEqual(t, snapshot(t, root))
}

// Without a /proc nothing is known of any process either, although the kernel says of a pid
// whether there is one.
func TestNoProc(t *testing.T) {
	if !inOwnMounts(t) {
		return
	}
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	old := ago(stale)
	s.leave("dead", daemondirtest.Sidecar(old, old), strconv.Itoa(daemondirtest.DeadPID))
	s.leave("no-pid", daemondirtest.Sidecar(old, old), "")
	s.spawnAs("live", daemondirtest.Sidecar(old, old))
	before := snapshot(t, root)
	mount(t, "none", "/proc", "tmpfs", 0, "")
	for _, args := range [][]string{{"prune"}, {"list"}, {"list", "dead"}} {
		o := run(t, append(args, "--root", root, "--log-format", "json")...).must(t)
		if strings.Count(o.stderr, `"event":"proc.foreign"`) != 1 || !strings.Contains(o.stderr, "there is no /proc") {
			t.Errorf("%v says\n%s", args, o.stderr)
		}
	}
	before.mustEqual(t, snapshot(t, root))
}

// needNamespaces skips the test if no process may be started with these attributes.
func needNamespaces(t *testing.T, attr *syscall.SysProcAttr) {
	t.Helper()
	p, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{Sys: attr})
	if err != nil {
		t.Skipf("no pid namespace to be had: %v", err)
	}
	_, err = p.Wait()
	noError(t, err)
}

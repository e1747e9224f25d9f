package prune

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"runtimegc/registry/daemondir/daemondirtest"
)

// fakeProc makes a /proc of the test's own that has one process in it: pid, as the real
// one tells of it, but with that uptime and executable. An empty uptime: no such file.
func fakeProc(t *testing.T, pid int, uptime, exe string) {
	t.Helper()
	proc := t.TempDir()
	dir := filepath.Join(proc, strconv.Itoa(pid))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"stat", "status"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		if err != nil {
			t.Skipf("no /proc: %v", err)
		}
		daemondirtest.WriteFile(t, filepath.Join(dir, name), string(text))
	}
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Skipf("no /proc: %v", err)
	}
	daemondirtest.WriteFile(t, filepath.Join(proc, "stat"), string(stat))
	if uptime != "" {
		daemondirtest.WriteFile(t, filepath.Join(proc, "uptime"), uptime)
	}
	if err := os.Symlink(exe, filepath.Join(dir, "exe")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOST_PROC", proc)
}

// gopsutil's start times that no process can have: in 1970 when it cannot read the
// uptime, in the future in a container that has an uptime of its own. They prove
// neither life nor death; an executable in the dir does.
func TestProbeImplausibleStart(t *testing.T) {
	for rule, uptime := range map[string]string{"1970": "", "the future": "0.00 0.00\n"} {
		t.Run(rule, func(t *testing.T) {
			// As if a process of another program had the pid: started long after spawned_at.
			d := daemondirtest.Make(t, t.TempDir(), "a", sidecarText(1_000_000_000_000, 1), strconv.Itoa(os.Getpid()))
			wantLiveness(t, d, Dead, PIDReused)
			fakeProc(t, os.Getpid(), uptime, "/bin/sh")
			if l := probeDir(t, d); l.State != Unknown || l.Err == nil || l.StartedAt.Known {
				t.Errorf("got %+v, want unknown, with the reason", l)
			}
			fakeProc(t, os.Getpid(), uptime, filepath.Join(d.Path(), "a"))
			wantLiveness(t, d, Alive, Running)
		})
	}
}

// Unknown is kept, neither refreshed nor removed, and said once.
func TestUnknownIsKept(t *testing.T) {
	b := newBench(t, Options{})
	d := daemondirtest.Make(t, b.root, "a", sidecarText(1_000_000_000_000, 1), strconv.Itoa(os.Getpid()))
	before := daemondirtest.ReadFile(t, d.Sidecar())
	fakeProc(t, os.Getpid(), "0.00 0.00\n", "/bin/sh")
	for range 3 {
		stats, rows := b.sweep()
		if stats.Unknown != 1 || stats.Kept != 1 || rows["a"].Reason != UnknownLiveness || rows["a"].State != Unknown {
			t.Errorf("%+v, %+v", stats, rows["a"])
		}
	}
	if !d.Exists() || daemondirtest.ReadFile(t, d.Sidecar()) != before {
		t.Error("it was touched")
	}
	if lines := b.log.Events("daemon.kept"); len(lines) != 1 || lines[0]["reason"] != "unknown_liveness" || lines[0]["error"] == nil {
		t.Errorf("logged %v", lines)
	}
	// As soon as it is known, it goes, although no event says so: nil, as in a watch.
	t.Setenv("HOST_PROC", "")
	if stats := b.pass(t.Context(), nil); stats.Removed != 1 || d.Exists() {
		t.Errorf("not removed: %+v", stats)
	}
}

// A pid file that is empty or gone says nothing of the process that was verified by it.
func TestEmptiedPIDFileIsNoExit(t *testing.T) {
	for rule, damage := range map[string]func(path string) error{
		"emptied": func(path string) error { return os.WriteFile(path, nil, 0o644) },
		"garbage": func(path string) error { return os.WriteFile(path, []byte("x"), 0o644) },
		"gone":    os.Remove,
	} {
		t.Run(rule, func(t *testing.T) {
			b := newBench(t, Options{})
			d, _ := daemondirtest.MakeLive(t, b.root, "a")
			b.sweep()
			b.wantEvents("daemon.live", 1)
			mustDo(t, damage(d.PIDFile()))
			if stats, rows := b.sweep(); stats.Alive != 1 || rows["a"].State != Alive {
				t.Errorf("%+v, %+v", stats, rows["a"])
			}
			b.wantEvents("daemon.exited", 0)
		})
	}
}

// A pid file that was emptied or cut does not cost a live daemon its dir, however stale
// the sidecar: whoever was not there when it was whole finds the trampoline running.
func TestBadPIDFileOfALiveDaemon(t *testing.T) {
	for rule, damage := range map[string]func(pid string) string{
		"emptied": func(string) string { return "" },
		"cut":     func(pid string) string { return pid[:len(pid)-1] },
		"another": func(string) string { return strconv.Itoa(os.Getpid()) },
		"garbage": func(string) string { return "x" },
	} {
		t.Run(rule, func(t *testing.T) {
			b := newBench(t, Options{})
			d, _ := daemondirtest.MakeLive(t, b.root, "a")
			daemondirtest.WriteFile(t, d.PIDFile(), damage(daemondirtest.ReadFile(t, d.PIDFile())))
			daemondirtest.WriteFile(t, d.Sidecar(), sidecarText(1_000_000_000_000, 1_000_000_000_000))
			_, rows := b.sweep()
			// What is left of a pid may be that of a process that cannot be looked into.
			unknown := rule == "cut" && rows["a"].Reason == UnknownLiveness
			if !d.Exists() || rows["a"].Decision != Keep || rows["a"].Reason != InUse && !unknown {
				t.Errorf("exists: %v; %+v", d.Exists(), rows["a"])
			}
		})
	}
}

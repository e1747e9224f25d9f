package prune

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

const (
	invalidAfter = 30 * 24 * time.Hour
	junkAge      = invalidAfter + time.Hour
)

// junks are dirs of whose daemons nothing says when they were alive.
var junks = map[string]func(t *testing.T, root string) daemondirtest.Dir{
	"sidecar_empty":      func(t *testing.T, root string) daemondirtest.Dir { return daemondirtest.Make(t, root, "a", "", "") },
	"sidecar_not_json":   func(t *testing.T, root string) daemondirtest.Dir { return daemondirtest.Make(t, root, "a", "{", "") },
	"sidecar_not_object": func(t *testing.T, root string) daemondirtest.Dir { return daemondirtest.Make(t, root, "a", "[]", "") },
	"sidecar_too_large": func(t *testing.T, root string) daemondirtest.Dir {
		return daemondirtest.Make(t, root, "a", strings.Repeat(" ", daemondir.MaxSidecarSize+1), "")
	},
	"sidecar_not_regular, a symlink": func(t *testing.T, root string) daemondirtest.Dir {
		d := makeBare(t, root, "a", "")
		mustDo(t, os.Symlink("/etc/passwd", d.Sidecar()))
		return d
	},
	"sidecar_not_regular, a directory": func(t *testing.T, root string) daemondirtest.Dir {
		d := makeBare(t, root, "a", "")
		mustDo(t, os.MkdirAll(filepath.Join(d.Sidecar(), "deep"), 0o755))
		return d
	},
	"sidecar_not_regular, a FIFO": func(t *testing.T, root string) daemondirtest.Dir {
		d := makeBare(t, root, "a", "")
		mustDo(t, unix.Mkfifo(d.Sidecar(), 0o644))
		return d
	},
	"not_a_daemon_dir, with a pid file": func(t *testing.T, root string) daemondirtest.Dir {
		return makeBare(t, root, "a", strconv.Itoa(daemondirtest.DeadPID))
	},
	"not_a_daemon_dir, with a trampoline": func(t *testing.T, root string) daemondirtest.Dir {
		d := makeBare(t, root, "a", "")
		daemondirtest.WriteFile(t, filepath.Join(d.Path(), "a"), "program")
		return d
	},
	"no_timestamp": func(t *testing.T, root string) daemondirtest.Dir {
		return daemondirtest.Make(t, root, "a", "{}", strconv.Itoa(daemondirtest.DeadPID))
	},
}

// makeBare makes a dir without a sidecar.
func makeBare(t *testing.T, root, name, pid string) daemondirtest.Dir {
	t.Helper()
	d := daemondirtest.Make(t, root, name, "", pid)
	mustDo(t, os.Remove(d.Sidecar()))
	return d
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Junk is removed only if that was asked for, and when nothing in it was written for long.
func TestJunk(t *testing.T) {
	for rule, make := range junks {
		reason, _, _ := strings.Cut(rule, ",")
		t.Run(rule, func(t *testing.T) {
			root := t.TempDir()
			d := make(t, root)
			mustDo(t, os.MkdirAll(filepath.Join(d.Path(), "logs"), 0o755))
			daemondirtest.WriteFile(t, filepath.Join(d.Path(), "logs", "log"), "text")
			daemondirtest.MakeOld(t, d.Path(), junkAge)
			b := newBenchIn(t, root, Options{})
			b.every = true // files become old again below, which raises no event
			for _, after := range []time.Duration{0, junkAge + time.Hour} {
				b.invalidAfter = after
				if _, rows := b.sweep(); rows["a"].Reason != Reason(reason) || !d.Exists() {
					t.Fatalf("with %v: %+v", after, rows["a"])
				}
			}
			dry := newBenchIn(t, root, Options{InvalidAfter: invalidAfter, DryRun: true})
			if stats, _ := dry.sweep(); stats.Removed != 1 || !d.Exists() {
				t.Errorf("dry run: %+v", stats)
			}
			b.invalidAfter = invalidAfter
			// A directory, a file, and what the spawner wrote: each is a sign of life.
			for _, path := range []string{".", "logs", "logs/log", "a.daemon.json", "daemon.pid", "a"} {
				path = filepath.Join(d.Path(), path)
				if _, err := os.Lstat(path); err != nil {
					continue
				}
				recent := unix.NsecToTimespec(time.Now().Add(-invalidAfter + time.Hour).UnixNano())
				mustDo(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{recent, recent}, unix.AT_SYMLINK_NOFOLLOW))
				if _, rows := b.sweep(); rows["a"].Reason != Reason(reason) || !d.Exists() {
					t.Fatalf("%s was written recently: %+v", path, rows["a"])
				}
				daemondirtest.MakeOld(t, d.Path(), junkAge)
			}
			b.wantEvents("daemon.kept", 0) // it was not due
			b.wantRemoved(d)
			if line := b.wantEvents("daemon.removed", 1)[0]; line["reason"] != reason || line["age_ms"] != nil {
				t.Errorf("logged as %v", line)
			}
		})
	}
}

// Junk is removed through all checks, and only if a spawner may have made it.
func TestJunkThatStays(t *testing.T) {
	noSidecar := junks["not_a_daemon_dir, with a pid file"]
	for rule, row := range map[string]struct {
		make   func(t *testing.T, root string) daemondirtest.Dir
		reason Reason
		opts   Options
	}{
		"nothing in it is a spawner's": {func(t *testing.T, root string) daemondirtest.Dir {
			d := makeBare(t, root, "a", "")
			daemondirtest.WriteFile(t, filepath.Join(d.Path(), "b.daemon.json"), "{}")
			mustDo(t, os.Mkdir(filepath.Join(d.Path(), "a"), 0o755))
			return d
		}, NotADaemonDir, Options{}},
		"its pid is alive": {func(t *testing.T, root string) daemondirtest.Dir {
			return daemondirtest.Make(t, root, "a", "{", strconv.Itoa(os.Getpid()))
		}, UnknownLiveness, Options{}},
		"its pid is alive, without a sidecar": {func(t *testing.T, root string) daemondirtest.Dir {
			return makeBare(t, root, "a", strconv.Itoa(os.Getpid()))
		}, UnknownLiveness, Options{}},
		"its name is protected": {noSidecar, NotADaemonDir, Options{Protect: []string{"a"}}},
		"it has a mark": {func(t *testing.T, root string) daemondirtest.Dir {
			d := noSidecar(t, root)
			_, err := daemondir.Protect(root, "a")
			mustDo(t, err)
			return d
		}, NotADaemonDir, Options{}},
		"somebody is there": {func(t *testing.T, root string) daemondirtest.Dir {
			d := noSidecar(t, root)
			cmd := exec.Command("sleep", "1000")
			cmd.Dir = d.Path()
			mustDo(t, cmd.Start())
			t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
			return d
		}, InUse, Options{}},
	} {
		t.Run(rule, func(t *testing.T) {
			root := t.TempDir()
			d := row.make(t, root)
			daemondirtest.MakeOld(t, d.Path(), junkAge)
			row.opts.InvalidAfter = invalidAfter
			b := newBenchIn(t, root, row.opts)
			for range 2 {
				if _, rows := b.sweep(); rows["a"].Reason != row.reason || !d.Exists() {
					t.Errorf("%+v", rows["a"])
				}
			}
			if lines := b.log.Events("daemon.kept"); row.reason == NotADaemonDir && len(lines) > 0 {
				t.Errorf("logged: %v", lines)
			}
		})
	}
}

// A spawner that comes to junk just now keeps what it has written.
func TestJunkIsRespawned(t *testing.T) {
	for _, step := range []string{"judged", "renamed"} {
		for _, text := range []string{"", "{"} {
			t.Run(step+text, func(t *testing.T) {
				root := t.TempDir()
				d := makeBare(t, root, "a", strconv.Itoa(daemondirtest.DeadPID))
				if text != "" {
					mustDo(t, d.WriteSidecar([]byte(text)))
				}
				daemondirtest.MakeOld(t, d.Path(), junkAge)
				c := testCollector(t, root)
				c.invalidAfter = invalidAfter
				m, err := c.newRemover(time.Hour, false)
				mustDo(t, err)
				defer m.close()
				m.reached = func(reached string) {
					if reached != step {
						return
					}
					path := d.Path()
					if step == "renamed" {
						path = filepath.Join(root, daemondir.QuarantinePrefix+"a")
					}
					if text != "" { // under the lease
						daemondirtest.WriteFile(t, filepath.Join(path, "daemon.pid"), "1")
						return
					}
					daemondirtest.WriteFile(t, filepath.Join(path, "a.daemon.json"), "{}")
				}
				if r := m.remove(entryOf(t, d)); r.kept != Respawned || r.hidden != "" || !d.Exists() {
					t.Errorf("%+v, there: %v", r, d.Exists())
				}
			})
		}
	}
}

// A removal of junk that was interrupted is finished when what is left is junk once more.
func TestJunkLeftOver(t *testing.T) {
	root := t.TempDir()
	hidden := makeBare(t, root, daemondir.QuarantinePrefix+"a", "")
	daemondirtest.WriteFile(t, filepath.Join(hidden.Path(), "log"), "text")
	b := newBenchIn(t, root, Options{})
	for _, b.invalidAfter = range []time.Duration{0, invalidAfter} {
		if b.sweep(); !hidden.Exists() {
			t.Fatalf("removed with %v", b.invalidAfter)
		}
	}
	daemondirtest.MakeOld(t, hidden.Path(), junkAge)
	b.invalidAfter = 0
	if b.sweep(); !hidden.Exists() {
		t.Fatal("removed, although that was not asked for")
	}
	b.invalidAfter = invalidAfter
	if b.sweep(); hidden.Exists() {
		t.Error("it is still there")
	}
	// An empty one is what every removal may leave.
	hidden = makeBare(t, root, daemondir.QuarantinePrefix+"b", "")
	if b.sweep(); hidden.Exists() {
		t.Error("the empty one is still there")
	}
}

// Sweeps that need no rows do not come to junk before it is due, nor survey it again.
func TestJunkIsSkippedUntilDue(t *testing.T) {
	root := t.TempDir()
	d := makeBare(t, root, "a", "1234567")
	log := filepath.Join(d.Path(), "log")
	daemondirtest.WriteFile(t, log, "text")
	daemondirtest.MakeOld(t, d.Path(), junkAge)
	daemondirtest.MakeOld(t, log, invalidAfter-time.Hour)
	b := newBenchIn(t, root, Options{InvalidAfter: invalidAfter})
	b.scan()
	b.pass(t.Context(), nil)
	if at := time.UnixMilli(int64(b.daemons["a"].judgeAgainAt)); at.Before(time.Now().Add(50*time.Minute)) || at.After(time.Now().Add(time.Hour)) {
		t.Errorf("next judged at %v", at)
	}
	b.now = func() time.Time { return time.Now().Add(time.Hour) }
	if b.pass(t.Context(), nil); d.Exists() {
		t.Error("not removed when it was due")
	}
}

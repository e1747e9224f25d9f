package prune

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// A spawner that found the sidecar before the dir was renamed waits for the lease. It finds its
// dir again, and what the last daemon left there, unless it came only while that was removed.
func TestPutBackForAWaitingSpawner(t *testing.T) {
	for _, row := range []struct {
		step, dir string
		whole     bool
	}{
		{"judged", "a", true},
		{"renamed", ".pruned-a", true},
		{"looked", ".pruned-a", false},
	} {
		t.Run(row.step, func(t *testing.T) {
			root := t.TempDir()
			d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
			needLeases(t, d)
			daemondirtest.WriteFile(t, filepath.Join(d.Path(), "log"), "why it died")
			daemondirtest.MakeOld(t, d.Path(), 2*time.Hour)
			m := newTestRemover(t, root, false)
			written := make(chan error, 1)
			m.reached = func(step string) {
				if step == row.step {
					go func() {
						written <- os.WriteFile(filepath.Join(root, row.dir, "a.daemon.json"), []byte("new"), 0o644)
					}()
					awaitLeaseBreak(t)
				}
			}
			if r := m.remove(entryOf(t, d)); r.kept != Respawned || r.err != nil || r.hidden != "" || !r.putBack {
				t.Errorf("%+v, want respawned, and that it is put back", r)
			}
			if err := <-written; err != nil {
				t.Fatal(err)
			}
			if text, err := os.ReadFile(d.Sidecar()); err != nil || string(text) != "new" {
				t.Errorf("the spawner's update is %q, %v", text, err)
			}
			if _, err := os.Stat(filepath.Join(d.Path(), "log")); row.whole && err != nil {
				t.Error(err)
			}
		})
	}
}

// Who only reads the sidecar at that moment, as another runtimegc's list does or our own watcher, is
// no spawner; but the dir is in use.
func TestPutBackForAReader(t *testing.T) {
	for step, dir := range map[string]string{"judged": "a", "renamed": ".pruned-a", "looked": ".pruned-a"} {
		t.Run(step, func(t *testing.T) {
			root := t.TempDir()
			d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
			needLeases(t, d)
			m := newTestRemover(t, root, false)
			m.reached = func(reached string) {
				if reached == step {
					if _, err := daemondir.Read(root, dir); !errors.Is(err, daemondir.ErrBusy) {
						t.Errorf("reading it: %v, want busy", err)
					}
				}
			}
			if r := m.remove(entryOf(t, d)); r.kept != InUse || r.details == "" || r.err != nil || r.hidden != "" || !r.putBack {
				t.Errorf("%+v, want in use, and that it is put back", r)
			}
		})
	}
}

// awaitLeaseBreak waits until somebody waits for the end of a lease of this process.
func awaitLeaseBreak(t *testing.T) {
	t.Helper()
	pid := strconv.Itoa(os.Getpid())
	daemondirtest.Eventually(t, "somebody waits for the lease", func() bool {
		text, err := os.ReadFile("/proc/locks")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) { // 1: LEASE  BREAKING  READ  8 00:2a:12 0 EOF
			if f := strings.Fields(line); len(f) > 4 && f[1] == "LEASE" && f[2] == "BREAKING" && f[4] == pid {
				return true
			}
		}
		return false
	})
}

// Nor is one lost that replaces the sidecar, or is refreshed by a collector without leases.
func TestPutBackForASidecarThatIsReplacedLate(t *testing.T) {
	root := t.TempDir()
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	m := newTestRemover(t, root, false)
	m.reached = func(step string) {
		if step != "looked" {
			return
		}
		file := filepath.Join(t.TempDir(), "new")
		daemondirtest.WriteFile(t, file, "new")
		if err := os.Rename(file, filepath.Join(root, ".pruned-a", "a.daemon.json")); err != nil {
			t.Error(err)
		}
	}
	if r := m.remove(entryOf(t, d)); r.kept != Respawned || r.err != nil || r.hidden != "" || daemondirtest.ReadFile(t, d.Sidecar()) != "new" {
		t.Errorf("%+v", r)
	}
}

// What is mounted in the dir after the last look is not emptied, and the dir is found again.
func TestPutBackForAMount(t *testing.T) {
	if portable {
		t.Skip("mounts of the same device are not seen there")
	}
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root")
	}
	root, mounted := t.TempDir(), t.TempDir()
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	daemondirtest.WriteFile(t, filepath.Join(mounted, "file"), "stay")
	point := filepath.Join(d.Path(), "mnt")
	if err := os.Mkdir(point, 0o755); err != nil {
		t.Fatal(err)
	}
	m := newTestRemover(t, root, false)
	m.reached = func(step string) {
		if step != "judged" {
			return
		}
		if err := unix.Mount(mounted, point, "", unix.MS_BIND, ""); err != nil {
			t.Skipf("no bind mount: %v", err)
		}
	}
	t.Cleanup(func() {
		for _, name := range []string{"a", ".pruned-a"} {
			_ = unix.Unmount(filepath.Join(root, name, "mnt"), unix.MNT_DETACH)
		}
	})
	if r := m.remove(entryOf(t, d)); r.kept != MountPoint || r.err != nil || r.hidden != "" || !r.putBack {
		t.Errorf("%+v, want that it is put back for the mount", r)
	}
	for _, path := range []string{d.Sidecar(), d.PIDFile(), filepath.Join(point, "file")} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

// Another dir that has the name when it is renamed gets it back, even if it has the very files
// of the one that was judged.
func TestPutBackForAnotherDir(t *testing.T) {
	root := t.TempDir()
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	fresh := daemondirtest.Dir{Root: root, Name: "b"}
	m := newTestRemover(t, root, false)
	m.reached = func(step string) {
		if step != "judged" {
			return
		}
		if err := errors.Join(fresh.Mkdir(),
			os.Rename(d.Sidecar(), filepath.Join(fresh.Path(), "a.daemon.json")),
			os.Rename(d.PIDFile(), fresh.PIDFile()),
			os.Rename(d.Path(), d.Path()+"-away"),
			os.Rename(fresh.Path(), d.Path())); err != nil {
			t.Error(err)
		}
	}
	if r := m.remove(entryOf(t, d)); r.kept != Changed || r.err != nil || r.hidden != "" || !r.putBack {
		t.Errorf("%+v, want changed, and that it is put back", r)
	}
	if _, err := os.Stat(d.Sidecar()); err != nil {
		t.Error(err)
	}
}

// A spawner that comes after the last look is seen where there is no lease, too: on a sidecar
// of another user, without CAP_LEASE (fcntl(2)), and on file systems that have none.
func TestPutBackWithoutALease(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a file to another user takes root")
	}
	for rule, come := range map[string]func(t *testing.T, dir string){
		"it writes the sidecar": func(t *testing.T, dir string) {
			daemondirtest.WriteFile(t, filepath.Join(dir, "a.daemon.json"), "{}")
		},
		"it writes the pid file": func(t *testing.T, dir string) {
			daemondirtest.WriteFile(t, filepath.Join(dir, "daemon.pid"), strconv.Itoa(os.Getpid()))
		},
	} {
		t.Run(rule, func(t *testing.T) {
			root := t.TempDir()
			d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
			if err := os.Chown(d.Sidecar(), nobodyID, nobodyID); err != nil {
				t.Fatal(err)
			}
			e, m := entryOf(t, d), newTestRemover(t, root, false)
			m.reached = func(step string) {
				if step == "renamed" {
					come(t, filepath.Join(root, ".pruned-a"))
				}
			}
			done := make(chan removal)
			go func() {
				runtime.LockOSThread() // for good: the thread ends with the goroutine
				dropLeases(t)
				done <- m.remove(e)
			}()
			if r := <-done; r.kept != Respawned || r.err != nil || r.hidden != "" || !r.putBack {
				t.Errorf("%+v, want that it is put back", r)
			}
			if _, err := os.Stat(d.Sidecar()); err != nil {
				t.Error(err)
			}
		})
	}
}

// dropLeases takes CAP_LEASE from this thread.
func dropLeases(t *testing.T) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // of 32 capabilities each
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Error(err)
	}
	data[0].Effective &^= 1 << unix.CAP_LEASE
	if err := unix.Capset(&header, &data[0]); err != nil {
		t.Error(err)
	}
}

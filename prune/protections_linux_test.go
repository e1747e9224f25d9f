package prune

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir/daemondirtest"
)

func TestKeepLockedDir(t *testing.T) {
	b := newBench(t, Options{})
	d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	dir, err := os.Open(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	b.wantKept(d, Locked)
	dir.Close()
	b.wantRemoved(d)
}

// A daemon whose pid file was emptied, a command that outlived its trampoline, a shell
// that stands in the dir: whoever uses it keeps it.
func TestKeepDirInUse(t *testing.T) {
	for rule, start := range map[string]func(t *testing.T, d daemondirtest.Dir) *exec.Cmd{
		"working directory": func(t *testing.T, d daemondirtest.Dir) *exec.Cmd {
			cmd := exec.Command("sleep", "1000")
			cmd.Dir = d.Path()
			return cmd
		},
		"open file": func(t *testing.T, d daemondirtest.Dir) *exec.Cmd {
			cmd := exec.Command("sleep", "1000")
			log, err := os.Create(filepath.Join(d.Path(), "log"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { log.Close() })
			cmd.Stdout = log
			return cmd
		},
		"executable": func(t *testing.T, d daemondirtest.Dir) *exec.Cmd {
			sleep, err := exec.LookPath("sleep")
			if err != nil {
				t.Skip(err)
			}
			exe := filepath.Join(d.Path(), d.Name)
			if err := daemondirtest.CopyProgram(exe, sleep); err != nil {
				t.Fatal(err)
			}
			return exec.Command(exe, "1000")
		},
	} {
		t.Run(rule, func(t *testing.T) {
			b := newBench(t, Options{})
			d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
			cmd := start(t, d)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if f, ok := cmd.Stdout.(*os.File); ok {
				f.Close() // ours; the child has its own
			}
			b.wantKept(d, InUse)
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			daemondirtest.MakeOld(t, d.Path(), 2*time.Hour)
			b.wantRemoved(d)
		})
	}
}

// Who comes to a dir while a pass removes others is seen, too, if that takes long.
func TestKeepDirInUseSinceThePassBegan(t *testing.T) {
	root := t.TempDir()
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	m := newTestRemover(t, root, false)
	cmd := exec.Command("sleep", "1000")
	cmd.Dir = d.Path()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	m.usersAt = m.usersAt.Add(-time.Hour)
	if r := m.remove(entryOf(t, d)); r.kept != InUse || !d.Exists() {
		t.Errorf("kept because %q (%v)", r.kept, r.err)
	}
	// Not for each dir: reading the process table takes longer than a removal.
	if m.usersOutdated() {
		t.Error("the process table is read again for the next dir")
	}
	m.usersAt, m.usersTook = time.Now().Add(-2*time.Second), time.Second
	if m.usersOutdated() {
		t.Error("reading the process table takes half of the time")
	}
}

// Somebody has the sidecar open right now.
func TestKeepWhileSidecarIsOpen(t *testing.T) {
	b := newBench(t, Options{})
	d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	needLeases(t, d)
	f, err := os.Open(d.Sidecar())
	if err != nil {
		t.Fatal(err)
	}
	b.wantKept(d, InUse)
	f.Close()
	b.wantRemoved(d)
}

// The dir is not what it was when it was judged.
func TestKeepWhatHasChanged(t *testing.T) {
	for rule, row := range map[string]struct {
		change func(t *testing.T, d daemondirtest.Dir)
		reason Reason
	}{
		"another spawn has begun": {func(t *testing.T, d daemondirtest.Dir) {
			now := time.Now().UnixMilli()
			daemondirtest.WriteFile(t, d.Sidecar(), sidecarText(now, now))
		}, Respawned},
		"another pid": {func(t *testing.T, d daemondirtest.Dir) {
			daemondirtest.WriteFile(t, d.PIDFile(), strconv.Itoa(daemondirtest.DeadPID-1))
		}, Respawned},
		"the sidecar is being written": {func(t *testing.T, d daemondirtest.Dir) { daemondirtest.WriteFile(t, d.Sidecar(), "") }, Respawned},
		"somebody has refreshed it": {func(t *testing.T, d daemondirtest.Dir) {
			e := entryOf(t, d)
			daemondirtest.WriteFile(t, d.Sidecar(), sidecarText(int64(e.SpawnedAt.MS), time.Now().UnixMilli()))
		}, Changed},
		"the dir was replaced": {func(t *testing.T, d daemondirtest.Dir) {
			_ = os.Rename(d.Path(), d.Path()+"-away")
			daemondirtest.MakeDead(t, d.Root, d.Name, 2*time.Hour)
		}, Changed},
		"the dir was swapped for a symlink": {func(t *testing.T, d daemondirtest.Dir) {
			_ = os.Rename(d.Path(), d.Path()+"-away")
			_ = os.Symlink(d.Path()+"-away", d.Path())
		}, Gone},
		"the dir was removed":     {func(t *testing.T, d daemondirtest.Dir) { _ = os.RemoveAll(d.Path()) }, Gone},
		"the sidecar was removed": {func(t *testing.T, d daemondirtest.Dir) { _ = os.Remove(d.Sidecar()) }, Gone},
	} {
		t.Run(rule, func(t *testing.T) {
			root := t.TempDir()
			d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
			e := entryOf(t, d)
			m := newTestRemover(t, root, false)
			row.change(t, d)
			if r := m.remove(e); r.kept != row.reason || r.err != nil {
				t.Errorf("kept because %q (%v), want %s", r.kept, r.err, row.reason)
			}
			if _, err := os.Lstat(d.Path()); err != nil && row.reason != Gone {
				t.Error("the dir is gone")
			}
			if _, err := os.Stat(d.Path() + "-away"); strings.Contains(rule, "re") && err == nil {
				if _, err := os.Stat(filepath.Join(d.Path()+"-away", "a.daemon.json")); err != nil {
					t.Error("what was moved away was emptied")
				}
			}
		})
	}
}

// The process came to life between the judgement and the deed, with the files as they
// were: a pid that was not there yet.
func TestKeepWhenProbedAlive(t *testing.T) {
	root := t.TempDir()
	d, cmd := daemondirtest.MakeLive(t, root, "a")
	// Stale by its sidecar, and alive: only the second probe stands between.
	daemondirtest.WriteFile(t, d.Sidecar(), `{"last_seen_unix_ms": 1}`)
	// The survey does not open a program with several links.
	if err := os.Link(filepath.Join(d.Path(), "a"), filepath.Join(t.TempDir(), "a")); err != nil {
		t.Fatal(err)
	}
	m := newTestRemover(t, root, false)
	findNoUsers(t, m) // because the process table was read before
	if r := m.remove(entryOf(t, d)); r.kept != Respawned {
		t.Errorf("kept because %q (%v)", r.kept, r.err)
	}
	if !d.Exists() || cmd.ProcessState != nil {
		t.Error("harm was done")
	}
}

// A mount point inside is never emptied; the device number alone would not tell.
func TestKeepMountPoint(t *testing.T) {
	if portable {
		t.Skip("mounts of the same device are not seen there")
	}
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root")
	}
	b := newBench(t, Options{})
	d := daemondirtest.MakeDead(t, b.root, "a b\\c", 2*time.Hour) // a name that mountinfo escapes
	precious := t.TempDir()
	daemondirtest.WriteFile(t, filepath.Join(precious, "file"), "stay")
	point := filepath.Join(d.Path(), "deep", "mnt")
	if err := os.MkdirAll(point, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(precious, point, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("no bind mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(point, unix.MNT_DETACH) })
	b.wantKept(d, MountPoint)
	if got := daemondirtest.ReadFile(t, filepath.Join(precious, "file")); got != "stay" {
		t.Error("the mounted directory was touched")
	}
	if err := unix.Unmount(point, 0); err != nil {
		t.Fatal(err)
	}
	b.wantRemoved(d)
}

// While nobody can say what is mounted in a dir, it is kept, and that is a failure; one that was
// renamed already is put back. Here the remover's mount table becomes a pipe, which cannot be
// read from its start.
func TestKeepWhenMountsCannotBeRead(t *testing.T) {
	if portable {
		t.Skip("mounts of the same device are not seen there")
	}
	for _, rule := range []string{"before the rename", "after the rename"} {
		t.Run(rule, func(t *testing.T) {
			root := t.TempDir()
			d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
			e, m := entryOf(t, d), newTestRemover(t, root, false)
			if rule == "before the rename" {
				breakMountTables(t)
			}
			m.reached = func(step string) {
				if step == "renamed" {
					breakMountTables(t)
				}
			}
			r := m.remove(e)
			if away := rule == "after the rename"; r.kept != Failed || r.putBack != away || r.err == nil || !d.Exists() {
				t.Errorf("%+v, want that it failed", r)
			}
			m = newTestRemover(t, root, false)
			if r := m.remove(entryOf(t, d)); r.kept != "" || r.err != nil {
				t.Errorf("with a table: %+v", r)
			}
		})
	}
}

// breakMountTables puts a pipe in the place of each mount table that this process has open.
func breakMountTables(t *testing.T) {
	t.Helper()
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	unix.Close(pipe[1])
	defer unix.Close(pipe[0])
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range open {
		if to, _ := os.Readlink("/proc/self/fd/" + entry.Name()); filepath.Base(to) == "mountinfo" {
			fd, _ := strconv.Atoi(entry.Name())
			if err := unix.Dup3(pipe[0], fd, unix.O_CLOEXEC); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// As long as users cannot be found, nothing is removed, and nobody who was not found is taken
// for absent afterwards.
func TestKeepWhenUsersCannotBeFound(t *testing.T) {
	root := t.TempDir()
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	m := newTestRemover(t, root, false)
	cmd := exec.Command("sleep", "1000")
	cmd.Dir = d.Path()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	m.usersAt = m.usersAt.Add(-time.Hour)
	t.Setenv("HOST_PROC", t.TempDir()+"/none")
	if r := m.remove(entryOf(t, d)); r.kept != Failed || r.err == nil || !d.Exists() {
		t.Errorf("kept because %q (%v)", r.kept, r.err)
	}
	for _, c := range m.explain(entryOf(t, d), true) {
		if c.Check == CheckUsers && (c.Outcome != Kept || c.Reason != Failed || !strings.Contains(c.Details, "/none")) {
			t.Errorf("explained as %+v, want why it failed", c)
		}
	}
	os.Unsetenv("HOST_PROC")
	if r := m.remove(entryOf(t, d)); r.kept != InUse || !d.Exists() {
		t.Errorf("kept because %q (%v)", r.kept, r.err)
	}
}

// A file of the dir that another collector holds, to see whether anybody has it open, has not changed.
func TestLastLookBesideAnotherCollector(t *testing.T) {
	root := t.TempDir()
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	needLeases(t, d)
	m := newTestRemover(t, root, true)
	a := &attempt{e: entryOf(t, d)}
	defer a.close()
	for _, check := range []func(*remover, *attempt) finding{(*remover).checkShape, (*remover).checkLastLook} {
		if f := check(m, a); f.kept != "" {
			t.Fatalf("kept because %q", f.kept)
		}
	}
	pidFile, err := os.Open(d.PIDFile())
	if err != nil {
		t.Fatal(err)
	}
	defer pidFile.Close()
	if _, err := unix.FcntlInt(pidFile.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Fatal(err)
	}
	if kept := m.lastLook(a); kept != InUse {
		t.Errorf("kept because %q, want in use", kept)
	}
}

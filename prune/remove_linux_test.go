package prune

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/prune/internal/fsys"
	"runtimegc/prune/internal/proc"
	"runtimegc/registry"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// wantKept sweeps and expects d to stay for that reason.
func (b *bench) wantKept(d daemondirtest.Dir, reason Reason) {
	b.t.Helper()
	_, rows := b.sweep()
	if !d.Exists() {
		b.t.Fatalf("the dir was removed, want it kept because %s", reason)
	}
	if row := rows[d.Name]; row.Decision != Keep || row.Reason != reason {
		b.t.Errorf("decided to %s because %s, want keep because %s", row.Decision, row.Reason, reason)
	}
	lines := b.log.Events("daemon.kept")
	if len(lines) == 0 || lines[len(lines)-1]["reason"] != string(reason) {
		b.t.Errorf("daemon.kept was logged as %v", lines)
	}
	b.sweep()
	if again := b.log.Events("daemon.kept"); len(again) != len(lines) {
		b.t.Errorf("the second sweep says it again: %v", again)
	}
}

func (b *bench) wantRemoved(d daemondirtest.Dir) {
	b.t.Helper()
	stats, _ := b.sweep()
	if d.Exists() || stats.Removed != 1 {
		b.t.Errorf("not removed: %+v", stats)
	}
	if left, _ := filepath.Glob(filepath.Join(b.root, daemondir.QuarantinePrefix+"*")); len(left) > 0 {
		b.t.Errorf("left behind: %q", left)
	}
}

func TestRemoveStaleDir(t *testing.T) {
	b := newBench(t, Options{})
	d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	daemondirtest.WriteFile(t, filepath.Join(d.Path(), "log"), strings.Repeat("x", 1000))
	if err := os.MkdirAll(filepath.Join(d.Path(), "deep", "er"), 0o755); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "precious")
	daemondirtest.WriteFile(t, outside, "stay")
	if err := os.Symlink(filepath.Dir(outside), filepath.Join(d.Path(), "deep", "link")); err != nil {
		t.Fatal(err)
	}
	daemondirtest.MakeOld(t, d.Path(), 2*time.Hour)
	recent := daemondirtest.MakeDead(t, b.root, "recent", time.Minute)
	size := int64(1000 + len(daemondirtest.ReadFile(t, d.Sidecar())) + len(daemondirtest.ReadFile(t, d.PIDFile())))
	b.wantRemoved(d)
	if !recent.Exists() {
		t.Error("the dir of one that died a minute ago is gone")
	}
	if got, err := os.ReadFile(outside); err != nil || string(got) != "stay" {
		t.Errorf("what a symlink led to was touched: %v", err)
	}
	lines := b.log.Events("daemon.removed")
	if len(lines) != 1 {
		t.Fatalf("logged %v", lines)
	}
	line := lines[0]
	// dir, sidecar, pid, log, deep, er, link
	if line["files"] != 7.0 || line["bytes"] != float64(size) || line["reason"] != "exited" {
		t.Errorf("logged %v, want 7 files, %d bytes", line, size)
	}
	if age := line["age_ms"].(float64); age < 7.1e6 || age > 7.4e6 {
		t.Errorf("age is %v ms, want 2h", age)
	}
	// The registry hears of it as of any other change, and that is not somebody else's.
	b.scan()
	b.observeChanges()
	if gone := b.log.Events("daemon.gone"); len(gone) > 0 {
		t.Errorf("our own removal is logged as %v", gone)
	}
}

// While the worker removes a large dir, the registry may hear that it has gone before the
// observer hears of the removal: it was not somebody else's.
func TestRemovalInProgressIsNotGone(t *testing.T) {
	b := running(t, Options{SweepInterval: time.Hour})
	d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	for i := range 3000 {
		daemondirtest.WriteFile(t, filepath.Join(d.Path(), "log"+strconv.Itoa(i)), "")
	}
	daemondirtest.MakeOld(t, d.Path(), 2*time.Hour)
	b.scan()
	b.wantEvents("daemon.added", 1)
	b.SweepNow()
	// What the watcher does in the meantime.
	daemondirtest.Eventually(t, "the dir is out of sight", func() bool { return !d.Exists() })
	b.w.Delete("a")
	if removed := b.log.Events("daemon.removed"); len(removed) > 0 {
		t.Skip("the removal was over before the registry heard of it")
	}
	b.wantEvents("daemon.removed", 1)
	daemondirtest.MakeLive(t, b.root, "b") // handled after all of that
	b.scan()
	b.wantEvents("daemon.live", 1)
	if gone := b.log.Events("daemon.gone"); len(gone) > 0 {
		t.Errorf("our own removal is logged as %v", gone)
	}
}

// A registry that has not heard of our removal yet is not a new daemon.
func TestRemovalIsNotABirth(t *testing.T) {
	b := newBench(t, Options{})
	d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	b.wantRemoved(d)
	b.observe("a", entryChanged)
	if added := b.log.Events("daemon.added"); len(added) != 1 {
		t.Errorf("added %d times", len(added))
	}
	b.scan()
	b.observeChanges()
	// The name's next daemon is one.
	daemondirtest.MakeDead(t, b.root, "a", time.Minute)
	b.scan()
	b.observeChanges()
	if added := b.log.Events("daemon.added"); len(added) != 2 {
		t.Errorf("added %d times", len(added))
	}
}

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
			if portable && rule == "open file" {
				t.Skip("open files are not seen there")
			}
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

func newTestRemover(t *testing.T, root string, dryRun bool) *remover {
	t.Helper()
	m, err := testCollector(t, root).newRemover(time.Hour, dryRun)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.close)
	return m
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
	m.users, m.usersAt = proc.Users{}, time.Now().Add(time.Hour) // and the process table was read before
	if r := m.remove(entryOf(t, d)); r.kept != Respawned {
		t.Errorf("kept because %q (%v)", r.kept, r.err)
	}
	if !d.Exists() || cmd.ProcessState != nil {
		t.Error("harm was done")
	}
}

// A spawner that found the sidecar before the dir was renamed, but comes to the lease while
// the dir is emptied, finds its dir again as well.
func TestPutBackForASpawnerWhoIsLate(t *testing.T) {
	root := t.TempDir()
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	needLeases(t, d)
	m := newTestRemover(t, root, false)
	written := make(chan error, 1)
	m.reached = func(step string) {
		if step != "looked" {
			return
		}
		f, err := os.OpenFile(filepath.Join(root, ".pruned-a", "a.daemon.json"), os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if !errors.Is(err, syscall.EWOULDBLOCK) { // but it makes the lease end
			f.Close()
			t.Errorf("there is no lease: %v", err)
		}
		go func() {
			written <- os.WriteFile(filepath.Join(root, ".pruned-a", "a.daemon.json"), []byte("new"), 0o644)
		}()
		time.Sleep(20 * time.Millisecond)
	}
	if r := m.remove(entryOf(t, d)); r.kept != Respawned || r.err != nil || r.hidden != "" {
		t.Errorf("%+v", r)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(d.Sidecar()); err != nil || string(text) != "new" {
		t.Errorf("%q, %v", text, err)
	}
}

// A spawner that has resolved the sidecar's path when the dir is renamed waits for the
// lease; it finds its dir again.
func TestPutBackForAWaitingSpawner(t *testing.T) {
	root := t.TempDir()
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	needLeases(t, d)
	e := entryOf(t, d)
	m := newTestRemover(t, root, false)
	dir, err := daemondir.Open(root, "a")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	f := openSidecar(t, d, daemondir.ReadOnly)
	if err := fsys.TakeLease(f); err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	go func() { opened <- os.WriteFile(d.Sidecar(), []byte("new"), 0o644) }()
	daemondirtest.Eventually(t, "the spawner waits", func() bool { return !fsys.LeaseHeld(f) })
	if err := m.root.Rename("a", ".pruned-a"); err != nil {
		t.Fatal(err)
	}
	if reason := m.recheckRenamed(&attempt{e: e, d: dir, sidecar: f, leased: true}, ".pruned-a"); reason != Respawned {
		t.Errorf("nobody is seen waiting: %q", reason)
	}
	if r := m.restore(".pruned-a", Respawned); r.kept != Respawned || r.err != nil || r.hidden != "" {
		t.Fatalf("%+v", r)
	}
	f.Close()
	if err := <-opened; err != nil {
		t.Error(err)
	}
	if got := daemondirtest.ReadFile(t, d.Sidecar()); got != "new" {
		t.Errorf("the spawner's update is %q", got)
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

// What an interrupted removal left is finished, or put back.
func TestLeftovers(t *testing.T) {
	quarantine := func(t *testing.T, d daemondirtest.Dir) string {
		hidden := filepath.Join(d.Root, daemondir.QuarantinePrefix+d.Name)
		if err := os.Rename(d.Path(), hidden); err != nil {
			t.Fatal(err)
		}
		return hidden
	}
	t.Run("dead and stale is removed", func(t *testing.T) {
		b := newBench(t, Options{})
		quarantine(t, daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour))
		stats, _ := b.sweep()
		if left, _ := os.ReadDir(b.root); len(left) != 0 || stats.Removed != 1 {
			t.Errorf("left %v, %+v", left, stats)
		}
		if lines := b.log.Events("daemon.removed"); len(lines) != 1 || lines[0]["daemon"] != "a" {
			t.Errorf("logged %v", lines)
		}
		b.sweep()
		if lines := b.log.Events("daemon.removed"); len(lines) != 1 {
			t.Errorf("logged again: %v", lines)
		}
	})
	t.Run("only the empty dir was left", func(t *testing.T) {
		b := newBench(t, Options{})
		if err := os.Mkdir(filepath.Join(b.root, ".pruned-a"), 0o755); err != nil {
			t.Fatal(err)
		}
		b.sweep()
		if left, _ := os.ReadDir(b.root); len(left) != 0 {
			t.Errorf("left %v", left)
		}
	})
	t.Run("not ours: no sidecar, but not empty", func(t *testing.T) {
		b := newBench(t, Options{})
		mine := filepath.Join(b.root, ".pruned-a", "mine")
		daemondirtest.Make(t, b.root, ".pruned-a", "x", "") // a daemon of that very name
		if err := os.WriteFile(mine, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		b.sweep()
		if _, err := os.Stat(mine); err != nil {
			t.Error(err)
		}
	})
	t.Run("alive is put back", func(t *testing.T) {
		b := newBench(t, Options{})
		d, _ := daemondirtest.MakeLive(t, b.root, "a")
		quarantine(t, d)
		b.sweep()
		if !d.Exists() {
			t.Error("not put back")
		}
	})
	t.Run("in use is put back", func(t *testing.T) {
		b := newBench(t, Options{})
		d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
		quarantine(t, d)
		cmd := exec.Command("sleep", "1000")
		cmd.Dir = filepath.Join(b.root, ".pruned-a")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
		b.sweep()
		if !d.Exists() {
			t.Error("not put back")
		}
	})
	t.Run("alive, and the name is taken", func(t *testing.T) {
		b := newBench(t, Options{})
		d, _ := daemondirtest.MakeLive(t, b.root, "a")
		hidden := quarantine(t, d)
		daemondirtest.MakeDead(t, b.root, "a", time.Minute)
		b.sweep()
		if _, err := os.Stat(hidden); err != nil || !d.Exists() {
			t.Error("one of the two is gone")
		}
	})
	t.Run("a dry run leaves it", func(t *testing.T) {
		b := newBench(t, Options{DryRun: true})
		hidden := quarantine(t, daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour))
		stats, _ := b.sweep()
		if _, err := os.Stat(hidden); err != nil || stats.Removed != 1 {
			t.Errorf("%v, %+v", err, stats)
		}
	})
}

// What cannot be removed is said once, counted, and tried again.
func TestRemovalFails(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("nothing is forbidden to root")
	}
	b := newBench(t, Options{})
	d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	if err := os.Chmod(b.root, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(b.root, 0o755) })
	stats, _ := b.sweep()
	if stats.Failed != 1 || !d.Exists() {
		t.Errorf("%+v", stats)
	}
	b.sweep()
	if lines := b.log.Events("daemon.kept"); len(lines) != 1 || lines[0]["reason"] != "permission" || lines[0]["error"] == nil {
		t.Errorf("logged %v", lines)
	}
	_ = os.Chmod(b.root, 0o755)
	b.wantRemoved(d)
}

func TestRemoveLongestName(t *testing.T) {
	b := newBench(t, Options{})
	b.wantRemoved(daemondirtest.MakeDead(t, b.root, strings.Repeat("n", 243), 2*time.Hour))
}

// The lock is held by one collector, whoever asks; a sweep and a run take it themselves.
func TestLockIsExclusive(t *testing.T) {
	root := t.TempDir()
	release, err := testCollector(t, root).Lock()
	if err != nil {
		t.Fatal(err)
	}
	other := testCollector(t, root)
	_, err = other.Lock()
	holder := "pid " + strconv.Itoa(os.Getpid())
	if portable {
		holder = "a process that is not visible from here"
	}
	if err == nil || !strings.Contains(err.Error(), holder) {
		t.Errorf("the second lock: %v; want to be told who holds it", err)
	}
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	w, _ := other.reg.Write()
	w.Put(entryOf(t, d), time.Time{})
	if _, err := other.Sweep(t.Context(), nil); err == nil || !d.Exists() {
		t.Errorf("a sweep beside another collector: %v; the dir is there: %v", err, d.Exists())
	}
	if err := other.Run(t.Context(), watcherByHand{other.reg}); err == nil {
		t.Error("it runs beside another collector")
	}
	release()
	release() // once more is nothing
	result, err := other.Sweep(t.Context(), nil)
	if err != nil || result.Removed != 1 || d.Exists() {
		t.Errorf("%+v, %v", result, err)
	}
	again, err := testCollector(t, root).Lock()
	if err != nil {
		t.Fatal(err)
	}
	again()
	if _, err := testCollector(t, filepath.Join(root, "no")).Lock(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a root that is not there: %v", err)
	}
	if left, _ := os.ReadDir(root); len(left) > 0 {
		t.Errorf("a lock leaves %v behind", left)
	}
}

// testCollector is a collector of a root that nobody has read.
func testCollector(t *testing.T, root string) *Collector {
	t.Helper()
	c, err := New(Options{Registry: registry.New(root), StaleAfter: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

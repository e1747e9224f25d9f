package integration

// File systems that stop answering: in a root, below it, and under processes.

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// A silentMount is a file system, all of from, that answers or does not.
type silentMount struct {
	t        *testing.T
	from, at string
	server   *exec.Cmd
	waiting  string // a file with the number of calls that are not answered yet
}

// mountFUSE mounts an empty directory, until the end of the test. The test must be in a mount
// namespace of its own, and defer answer before it starts what may wait for the mount.
func mountFUSE(t *testing.T) *silentMount {
	t.Helper()
	bindfs, err := exec.LookPath("bindfs")
	if err != nil {
		t.Skip("bindfs is not installed")
	}
	m := &silentMount{t: t, from: t.TempDir(), at: t.TempDir()}
	m.server = exec.Command(bindfs, "-f", m.from, m.at)
	m.server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said daemondirtest.Log
	m.server.Stderr = &said
	noError(t, m.server.Start())
	ended := make(chan error, 1)
	go func() { ended <- m.server.Wait() }()
	t.Cleanup(func() {
		m.server.Process.Kill()
		unix.Unmount(m.at, unix.MNT_DETACH)
		<-ended
	})
	daemondirtest.Eventually(t, "it is mounted", func() bool {
		select {
		case err := <-ended:
			ended <- err
			t.Skipf("no FUSE to be had: bindfs: %v: %s", err, said.String())
		default:
		}
		var fs unix.Statfs_t
		return unix.Statfs(m.at, &fs) == nil && fs.Type == unix.FUSE_SUPER_MAGIC
	})
	control := t.TempDir()
	mount(t, "none", control, "fusectl", 0, "")
	var info unix.Stat_t
	noError(t, unix.Stat(m.at, &info))
	m.waiting = filepath.Join(control, fmt.Sprint(unix.Minor(info.Dev)), "waiting")
	return m
}

// silence makes every call wait that needs the server. It is stopped while it has none: a process
// whose call it has begun to answer could not be ended, not even by SIGKILL, until it goes on.
func (m *silentMount) silence() {
	m.t.Helper()
	daemondirtest.Eventually(m.t, "it does not answer", func() bool {
		noError(m.t, m.server.Process.Signal(syscall.SIGSTOP))
		daemondirtest.Eventually(m.t, "it is stopped", func() bool {
			return strings.HasPrefix(procStatus(m.t, m.server.Process.Pid, "State"), "T")
		})
		if strings.TrimSpace(daemondirtest.ReadFile(m.t, m.waiting)) == "0" {
			return true
		}
		m.answer()
		return false
	})
}

func (m *silentMount) answer() { noError(m.t, m.server.Process.Signal(syscall.SIGCONT)) }

// on shows the same at target.
func (m *silentMount) on(target string) {
	m.t.Helper()
	noError(m.t, os.MkdirAll(target, 0o755))
	mount(m.t, m.at, target, "", unix.MS_BIND, "")
}

// A symlink that leads to it, a daemon dir under it, and a due one with it somewhere below,
// hold up nothing else in the root, at the start, and when it goes silent later.
func TestSilentMountInTheRoot(t *testing.T) {
	t.Parallel()
	if !inOwnMounts(t) {
		return
	}
	m := mountFUSE(t)
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	text := daemondirtest.Sidecar(time.Now(), time.Time{})
	noError(t, os.WriteFile(filepath.Join(m.from, "mounted.daemon.json"), text, 0o644))
	noError(t, os.WriteFile(filepath.Join(m.from, "daemon.pid"), []byte(strconv.Itoa(bystander(t, "/"))), 0o644))
	m.on(s.dir("mounted"))
	s.dead("tree", stale)
	m.on(filepath.Join(s.dir("tree"), "sub"))
	s.dead("due", stale)
	noError(t, os.Symlink(m.at, filepath.Join(root, "link")))
	s.spawn("live")
	defer m.answer()
	m.silence()

	w := startWatch(t, root, "--sweep-interval", "200ms")
	mustGoOn := func(born string) {
		t.Helper()
		if e := w.next("sidecar.invalid", "mounted"); e.reason != "no_answer" {
			t.Errorf("want reason no_answer: %s", e.line)
		}
		noError(t, os.Symlink(m.at, filepath.Join(root, "link-"+born)))
		d := s.spawn(born)
		w.next("daemon.live", born)
		w.next("sidecar.refreshed", born)
		d.kill()
		w.next("daemon.exited", born)
		s.leave("due-"+born, daemondirtest.Sidecar(ago(stale), ago(stale)), noProcess)
		daemondirtest.MakeOld(t, s.dir("due-"+born), stale)
		w.next("daemon.removed", "due-"+born)
		w.sweeps(1)
	}
	w.next("daemon.live", "live")
	w.next("daemon.removed", "due")
	if e := w.next("daemon.kept", "tree"); e.reason != "mount_point" {
		t.Errorf("want reason mount_point: %s", e.line)
	}
	mustGoOn("first")
	if got := listed(t, root); got["mounted"] != "invalid no_answer" || !strings.HasPrefix(got["live"], "alive ") {
		t.Errorf("list has %q", got)
	}
	m.answer()
	w.next("daemon.live", "mounted")
	w.next("sidecar.refreshed", "mounted")
	m.silence()
	mustGoOn("second")
	w.stop(syscall.SIGTERM)
	w.never("daemon.removed", "mounted")
	w.never("daemon.removed", "tree")
}

// listed returns what list says of each daemon: its state and the reason.
func listed(t *testing.T, root string) map[string]string {
	t.Helper()
	var rows []struct{ Name, State, Reason string }
	noError(t, json.Unmarshal([]byte(run(t, "list", "--json", "--root", root).must(t).stdout), &rows))
	got := make(map[string]string)
	for _, r := range rows {
		got[r.Name] = r.State + " " + r.Reason
	}
	return got
}

// Processes whose program, working directory or open file is on it are alive like any other,
// and keep nobody from removing what is due.
func TestProcessesOnASilentMount(t *testing.T) {
	t.Parallel()
	if !inOwnMounts(t) {
		return
	}
	m := mountFUSE(t)
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	program := filepath.Join(m.at, "program")
	noError(t, daemondirtest.CopyProgram(filepath.Join(m.from, "program"), trampolineImage(t)))
	noError(t, os.WriteFile(filepath.Join(m.from, "file"), nil, 0o644))
	f, err := os.OpenFile(filepath.Join(m.at, "file"), os.O_RDWR, 0)
	noError(t, err)
	runs := waiting(program)
	noError(t, runs.Start())
	t.Cleanup(func() {
		runs.Process.Kill()
		runs.Wait()
	})
	pids := map[string]int{"program": runs.Process.Pid, "cwd": bystander(t, m.at), "file": bystander(t, "/", f)}
	noError(t, f.Close())
	defer m.answer()
	for name, pid := range pids {
		s.leave(name, daemondirtest.Sidecar(time.Now(), time.Time{}), strconv.Itoa(pid))
	}
	s.dead("due", stale)
	s.dead("pruned", stale)
	m.silence()

	if o := run(t, "prune", "--root", root).must(t); !strings.Contains(o.stdout, "5 scanned, 2 removed, 3 refreshed") {
		t.Errorf("prune: %s", o.stdout)
	}
	s.dead("due", stale)
	w := startWatch(t, root, "--sweep-interval", "200ms")
	for name := range pids {
		w.next("daemon.live", name)
		w.next("sidecar.refreshed", name)
	}
	w.next("daemon.removed", "due")
	s.dead("later", stale)
	w.next("daemon.removed", "later")
	w.sweeps(1)
	w.stop(syscall.SIGTERM)
	if got := names(t, root); !slices.Equal(got, []string{"cwd", "file", "program"}) {
		t.Errorf("there is %q", got)
	}
}

// A root that does not answer is said, waited for, and served as soon as it answers; a root
// beside it is served all the while.
//
// Many of them are awaited side by side: by turns each would take the time of one.
func TestRootDoesNotAnswer(t *testing.T) {
	t.Parallel()
	if !inOwnMounts(t) {
		return
	}
	start := func(t *testing.T, silent bool) (m *silentMount, dead string, s *spawner, w *watchProcess) {
		m = mountFUSE(t)
		dead = filepath.Join(m.at, "runtime")
		noError(t, os.Mkdir(filepath.Join(m.from, "runtime"), 0o755))
		daemondirtest.Make(t, filepath.Join(m.from, "runtime"), "there",
			daemondirtest.Sidecar(time.Now(), time.Time{}), strconv.Itoa(bystander(t, "/")))
		s = newSpawner(t, runtimeRoot(t))
		s.dead("due", stale)
		t.Cleanup(m.answer)
		if silent {
			m.silence()
		}
		// The silent one comes first.
		return m, dead, s, startWatch(t, dead, "--root", s.root, "--sweep-interval", "200ms")
	}
	mustServe := func(t *testing.T, s *spawner, w *watchProcess, name string) {
		t.Helper()
		d := s.spawn(name)
		w.next("daemon.live", name)
		w.next("sidecar.refreshed", name)
		d.kill()
		w.next("daemon.exited", name)
		s.leave("due", daemondirtest.Sidecar(ago(stale), ago(stale)), noProcess)
		daemondirtest.MakeOld(t, s.dir("due"), stale)
		w.next("daemon.removed", "due")
	}
	noAnswer := func(t *testing.T, w *watchProcess, kind, dir string) {
		t.Helper()
		for { // that it is on FUSE is a reason as well
			if e := w.next(kind, ""); e.reason == "no_answer" {
				if e.fields["dir"] != dir {
					t.Errorf("want dir %s: %s", dir, e.line)
				}
				return
			}
		}
	}
	t.Run("many", func(t *testing.T) {
		t.Parallel()
		m := mountFUSE(t)
		t.Cleanup(m.answer)
		// A textfile is compared with each root.
		args := []string{"--sweep-interval", "200ms", "--metrics-textfile", filepath.Join(t.TempDir(), "a.prom")}
		const dead = 12
		for i := range dead {
			args = append(args, "--root", filepath.Join(m.at, fmt.Sprint("runtime", i)))
		}
		s := newSpawner(t, runtimeRoot(t))
		m.silence()
		began := time.Now()
		w := startWatch(t, s.root, args...)
		mustServe(t, s, w, "beside")
		// By turns each takes 2 s at least, and one more for its file-system type.
		if took := time.Since(began); took > dead*2*time.Second {
			t.Errorf("it took %v until the root was served that answers", took)
		}
		m.answer()
		w.stop(syscall.SIGTERM)
	})
	t.Run("from the start", func(t *testing.T) {
		t.Parallel()
		m, dead, s, w := start(t, true)
		w.next("daemon.removed", "due")
		mustServe(t, s, w, "before")
		var commands sync.WaitGroup
		for _, args := range [][]string{{"list"}, {"list", "there"}, {"prune", "--root", s.root}, {"protect", "there"}} {
			commands.Go(func() {
				o := run(t, append(args, "--root", dead)...)
				if want := `root "` + dead + `": its file system does not answer`; o.code != 1 || !strings.Contains(o.stderr, want) || o.stdout != "" {
					t.Errorf("%q: exit code %d, want 1 and %s: %s%s", args, o.code, want, o.stderr, o.stdout)
				}
			})
		}
		commands.Wait()
		noAnswer(t, w, "watch.degraded", dead)
		mustServe(t, s, w, "meanwhile")
		m.answer()
		noAnswer(t, w, "watch.restored", dead)
		w.next("daemon.live", "there")
		w.next("sidecar.refreshed", "there")
		mustServe(t, s, w, "after")
		w.stop(syscall.SIGTERM)
	})
	t.Run("later", func(t *testing.T) {
		t.Parallel()
		m, dead, s, w := start(t, false)
		w.next("daemon.live", "there")
		m.silence()
		noAnswer(t, w, "watch.degraded", dead)
		mustServe(t, s, w, "meanwhile")
		m.answer()
		noAnswer(t, w, "watch.restored", dead)
		s2 := newSpawner(t, filepath.Join(m.from, "runtime"))
		s2.leave("new", daemondirtest.Sidecar(time.Now(), time.Time{}), strconv.Itoa(bystander(t, "/")))
		w.next("daemon.live", "new")
		m.silence()
		w.sweeps(2)
		began := time.Now()
		noError(t, w.cmd.Process.Signal(syscall.SIGTERM))
		<-w.done
		w.faults = nil // the last line says what hangs, and is not of the log
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %v to end", took)
		}
	})
}

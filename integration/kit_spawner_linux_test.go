package integration

// The spawner: spawn_daemon() and cleanup_runtime() as the running-process package
// does them, and the ways in which a daemon ends.

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// trampolineImage returns the file that every trampoline is a hard link of. Where nothing is built,
// since GCTEST_BINARY is given, it is a link to GCTEST_TRAMPOLINE_BINARY, or to the test binary, which does the
// same, or a copy if that may not be linked (another user's, under fs.protected_hardlinks; another
// file system's).
func trampolineImage(t testing.TB) string {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.image != "" {
		return shared.image
	}
	dir, err := shared.folder()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("GCTEST_BINARY") == "" {
		if shared.image, err = goBuild(dir, "runtimegc/integration/testdata/trampoline"); err != nil {
			t.Fatal(err)
		}
		return shared.image
	}
	image := filepath.Join(dir, "trampoline")
	program := cmp.Or(os.Getenv("GCTEST_TRAMPOLINE_BINARY"), ownProgram(t))
	if err := os.Link(program, image); err != nil {
		noError(t, daemondirtest.CopyProgram(image, program))
	}
	shared.image = image
	return image
}

// prebuilt is the environment of tests that run in a process of their own, and build nothing.
func prebuilt(t testing.TB) []string {
	t.Helper()
	return append(os.Environ(), "GCTEST_BINARY="+binary(t), "GCTEST_TRAMPOLINE_BINARY="+trampolineImage(t))
}

// spawner spawns daemons in one root. Its methods may be called from any goroutine;
// those that return no error end the test, and are for the test's own.
type spawner struct {
	t     testing.TB
	root  string
	image string

	mu  sync.Mutex // guards all
	all []*daemon
}

// newSpawner returns a spawner for root, which need not exist. Every process it starts
// is gone at the end of the test.
func newSpawner(t testing.TB, root string) *spawner {
	t.Helper()
	s := &spawner{t: t, root: root, image: trampolineImage(t)}
	t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, d := range s.all {
			d.cmd.Process.Kill()
			d.cmd.Wait()
		}
	})
	return s
}

// daemon is one process that was spawned.
type daemon struct {
	name, dir string
	pid       int
	inode     uint64 // of its dir
	cmd       *exec.Cmd
	closed    time.Time // when its pid file was closed
	killed    time.Time // zero: not yet
}

// dir returns the path of the daemon dir of that name.
func (s *spawner) dir(name string) string { return daemondirtest.Dir{Root: s.root, Name: name}.Path() }

// sidecar returns the path of its sidecar.
func (s *spawner) sidecar(name string) string {
	return daemondirtest.Dir{Root: s.root, Name: name}.Sidecar()
}

// spawn spawns a daemon, anew if there was one of that name.
func (s *spawner) spawn(name string) *daemon {
	s.t.Helper()
	now := time.Now()
	return s.spawnAs(name, daemondirtest.Sidecar(now, now))
}

// spawnAs spawns a daemon with that sidecar.
func (s *spawner) spawnAs(name string, sidecar []byte) *daemon {
	s.t.Helper()
	d, err := s.try(name, sidecar)
	if err != nil {
		s.t.Fatalf("spawning %q: %v", name, err)
	}
	return d
}

// try is one spawn_daemon(), step by step as it does them: no rename, no sync, no lock.
func (s *spawner) try(name string, sidecar []byte) (*daemon, error) {
	d, err := s.start(name, sidecar)
	if err != nil {
		return nil, err
	}
	return d, s.announce(d)
}

// start is a spawn up to the process, of which nothing tells yet.
func (s *spawner) start(name string, sidecar []byte) (*daemon, error) {
	dir, err := s.begin(name, sidecar)
	if err != nil {
		return nil, err
	}
	link := filepath.Join(dir, name)
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.Link(s.image, link); err != nil {
		return nil, err
	}
	d := &daemon{name: name, dir: dir, cmd: waiting(link)}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	d.pid = d.cmd.Process.Pid
	s.mu.Lock()
	s.all = append(s.all, d)
	s.mu.Unlock()
	return d, nil
}

// announce is the rest of it: the pid file.
func (s *spawner) announce(d *daemon) error {
	if err := (daemondirtest.Dir{Root: s.root, Name: d.name}).WritePID(strconv.Itoa(d.pid)); err != nil {
		d.kill()
		return err
	}
	d.closed = time.Now()
	info, err := os.Stat(d.dir)
	if err != nil {
		d.kill()
		return err
	}
	d.inode = inode(info)
	return nil
}

// begin is what a spawn does before it makes a process: all there is of one that
// fails.
func (s *spawner) begin(name string, sidecar []byte) (dir string, err error) {
	d := daemondirtest.Dir{Root: s.root, Name: name}
	if err := d.Mkdir(); err != nil {
		return "", err
	}
	return d.Path(), d.WriteSidecar(sidecar)
}

// leave leaves a daemon dir without a process: a sidecar and, unless pid is empty, a
// pid file.
func (s *spawner) leave(name string, sidecar []byte, pid string) {
	s.t.Helper()
	daemondirtest.Make(s.t, s.root, name, sidecar, pid)
}

// dead leaves the dir of a daemon that ran, and was last seen so long ago. No watch sees it
// live, else it would have been seen just now.
func (s *spawner) dead(name string, since time.Duration) *daemon {
	s.t.Helper()
	d, err := s.start(name, daemondirtest.Sidecar(ago(since), ago(since)))
	if err == nil {
		d.kill()
		err = s.announce(d)
	}
	if err != nil {
		s.t.Fatalf("leaving %q: %v", name, err)
	}
	return d
}

// cleanup is cleanup_runtime(): it removes the daemon dir and kills nothing.
func (s *spawner) cleanup(name string) error { return os.RemoveAll(s.dir(name)) }

// kill kills the daemon with SIGKILL and waits for it, as an attentive parent does.
func (d *daemon) kill() {
	d.killed = time.Now()
	d.cmd.Process.Kill()
	d.cmd.Wait()
}

// abandon kills the daemon with SIGKILL and leaves it a zombie: its parent lives on
// and does not wait.
func (d *daemon) abandon() error {
	d.killed = time.Now()
	if err := d.cmd.Process.Kill(); err != nil {
		return err
	}
	for {
		err := unix.Waitid(unix.P_PID, d.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return err
		}
	}
}

// complete returns an error unless the daemon dir is the one that this daemon was
// spawned in, with all that the spawn put there.
func (d *daemon) complete() error {
	info, err := os.Stat(d.dir)
	if err != nil {
		return err
	}
	if inode(info) != d.inode {
		return errors.New("it is another directory")
	}
	for _, file := range []string{d.name, d.name + ".daemon.json", "daemon.pid"} {
		if _, err := os.Lstat(filepath.Join(d.dir, file)); err != nil {
			return err
		}
	}
	pid, err := os.ReadFile(filepath.Join(d.dir, "daemon.pid"))
	if err == nil && string(pid) != strconv.Itoa(d.pid) {
		err = fmt.Errorf("its pid file says %q, not %d", pid, d.pid)
	}
	return err
}

// waiting returns a command that runs the test binary at path as a trampoline.
func waiting(path string) *exec.Cmd {
	cmd := exec.Command(path)
	// One thread is plenty for waiting. The daemon dies with the tests, whatever ends them.
	cmd.Env = []string{trampolineEnv + "=" + ignoreTerm, "GOMAXPROCS=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// bystander starts a process that is no daemon's trampoline, with its working
// directory in dir and files open.
func bystander(t testing.TB, dir string, files ...*os.File) int {
	t.Helper()
	return bystanderAs(t, &syscall.SysProcAttr{}, dir, files...)
}

// bystanderAs is bystander with attributes for the process, such as another user.
func bystanderAs(t testing.TB, attr *syscall.SysProcAttr, dir string, files ...*os.File) int {
	t.Helper()
	cmd := waiting(trampolineImage(t))
	cmd.Dir, cmd.ExtraFiles = dir, files
	attr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr = attr
	noError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process.Pid
}

// runtimeRoot returns an empty runtime root.
func runtimeRoot(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "runtime")
	noError(t, os.Mkdir(root, 0o755))
	return root
}

// crowd leaves n daemon dirs whose sidecars are text and who share one process: a root
// full of live daemons, but for the processes.
func crowd(t *testing.T, s *spawner, n int, text []byte) []string {
	t.Helper()
	pid := strconv.Itoa(bystander(t, "/"))
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("d%03d", i)
		s.leave(names[i], text, pid)
	}
	return names
}

// noProcess is a pid that no Linux can give to a process.
var noProcess = strconv.Itoa(daemondirtest.DeadPID)

// memoryRoot returns an empty runtime root, in memory if there is room: thousands of
// dirs can take a disk a minute.
func memoryRoot(t *testing.T) string {
	t.Helper()
	root := filepath.Join(daemondirtest.MemoryDir(t), "runtime")
	noError(t, os.Mkdir(root, 0o755))
	return root
}

// ago is so long before now.
func ago(d time.Duration) time.Time { return time.Now().Add(-d) }

//go:build !portable

package proc

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir/daemondirtest"
)

// useVar makes the test binary a user of a directory: "how|path".
const useVar = "GCTEST_USE"

func init() {
	if how, path, ok := strings.Cut(os.Getenv(useVar), "|"); ok {
		runtime.LockOSThread() // the first thread
		beUser(how, path)
	}
}

// beUser uses path until its standard input ends.
func beUser(how, path string) {
	check := func(err error) {
		if err != nil {
			os.Stdout.WriteString(how + ": " + err.Error() + "\n")
			os.Exit(1)
		}
	}
	wait := func() {
		os.Stdout.WriteString("ready\n")
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}
	// A container: the runtime root of path is /data, and nothing else is left of our tree.
	if inside, ok := strings.CutPrefix(how, "container "); ok {
		how = inside
		jail := filepath.Join(os.TempDir(), "jail")
		check(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		check(os.Mkdir(jail, 0o755))
		check(unix.Mount("jail", jail, "tmpfs", 0, ""))
		data := filepath.Join(jail, "data")
		check(os.Mkdir(data, 0o755))
		check(unix.Mount(filepath.Dir(path), data, "", unix.MS_BIND, ""))
		check(unix.PivotRoot(jail, data)) // the old root on top of data ...
		check(os.Chdir("/"))
		check(unix.Unmount("/data", unix.MNT_DETACH)) // ... and away
		path = filepath.Join("/data", filepath.Base(path))
	}
	if inside, ok := strings.CutPrefix(how, "alias "); ok {
		how = inside
	}
	file := filepath.Join(path, "file")
	switch how {
	case "working directory":
		check(os.Chdir(path))
	case "working directory below":
		sub := filepath.Join(path, "sub")
		check(os.Mkdir(sub, 0o755))
		check(os.Chdir(sub))
	case "root directory":
		check(syscall.Chroot(path))
	case "open file":
		f, err := os.Open(file)
		check(err)
		defer f.Close()
	case "mapped file":
		f, err := os.Open(file)
		check(err)
		_, err = unix.Mmap(int(f.Fd()), 0, 1, unix.PROT_READ, unix.MAP_PRIVATE)
		check(err)
		check(f.Close())
	case "socket":
		_, err := net.Listen("unix", filepath.Join(path, "s"))
		check(err)
	case "relative socket":
		check(os.Chdir(path))
		_, err := net.Listen("unix", "s")
		check(err)
		check(os.Chdir("/"))
	case "first thread has exited":
		check(os.Chdir(path))
		go wait()
		syscall.Syscall(syscall.SYS_EXIT, 0, 0, 0) // only this thread; nothing runs after it
	case "not dumpable": // so that its user may not inspect it (proc(5), PR_SET_DUMPABLE)
		check(unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
	case "effective user": // of this thread, the first
		_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 0, 65534, 0)
		if errno != 0 {
			check(errno)
		}
	case "program", "nothing":
	}
	wait()
}

// startUser starts a process that uses path, and returns its pid and its end.
func startUser(t *testing.T, how, path string, flags uintptr) (pid int, end func()) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	if how == "program" {
		cmd.Path = filepath.Join(path, "program")
		if err := daemondirtest.CopyProgram(cmd.Path, "/proc/self/exe"); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Env = append(os.Environ(), useVar+"="+how+"|"+path, "TMPDIR="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Skipf("no such process here: %v", err)
	}
	end = func() {
		stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(end)
	if line, _ := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the user says %q", line)
	}
	return cmd.Process.Pid, end
}

// usedRoot returns a root with two dirs, x and y, and a file in each.
func usedRoot(t *testing.T) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"x", "y"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name, "file"), []byte("text"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// Whoever uses a directory is found, under whatever path it knows it, and only of that
// directory; and nobody any more when it has exited.
func TestUsers(t *testing.T) {
	const newMounts, newNet = syscall.CLONE_NEWNS, syscall.CLONE_NEWNET
	for how, row := range map[string]struct {
		want  string
		flags uintptr
	}{
		"working directory":       {"its working directory", 0},
		"working directory below": {"its working directory", 0},
		"root directory":          {"its root directory", 0},
		"open file":               {"an open file", 0},
		"mapped file":             {"a mapped file", 0},
		"socket":                  {socketUse, 0},
		"first thread has exited": {"its working directory", 0},
		"program":                 {"its program", 0},

		"alias working directory": {"its working directory", 0},
		"alias open file":         {"an open file", 0},
		"alias mapped file":       {"a mapped file", 0},
		"alias socket":            {socketUse, 0},

		"container working directory": {"its working directory", newMounts},
		"container open file":         {"an open file", newMounts},
		"container mapped file":       {"a mapped file", newMounts},
		"container socket":            {socketUse, newMounts | newNet},
	} {
		t.Run(how, func(t *testing.T) {
			root := usedRoot(t)
			if os.Geteuid() != 0 && (row.flags != 0 || strings.HasPrefix(how, "alias ") || how == "root directory") {
				t.Skip("mounting takes root")
			}
			path := filepath.Join(root, "x")
			if strings.HasPrefix(how, "alias ") {
				alias := t.TempDir()
				if err := unix.Mount(root, alias, "", unix.MS_BIND, ""); err != nil {
					t.Skipf("no bind mounts: %v", err)
				}
				t.Cleanup(func() { _ = unix.Unmount(alias, unix.MNT_DETACH) })
				path = filepath.Join(alias, "x")
			}
			pid, end := startUser(t, how, path, row.flags)
			users, err := FindUsers(root)
			if err != nil {
				t.Fatal(err)
			}
			if use, used := users.Of("x"); !used || use != (Use{int32(pid), row.want}) {
				t.Errorf("it is used: %v, %+v, want %q by pid %d", used, use, row.want, pid)
			}
			if use, used := users.Of("y"); used {
				t.Errorf("the other is used: %+v", use)
			}
			end()
			users, err = FindUsers(root)
			if err != nil {
				t.Fatal(err)
			}
			if use, used := users.Of("x"); used {
				t.Errorf("when its user has exited it is used: %+v", use)
			}
		})
	}
}

// A socket is known by the file that it is bound to, however its path was written.
func TestUsersOfSockets(t *testing.T) {
	root := usedRoot(t)
	pid, end := startUser(t, "relative socket", filepath.Join(root, "x"), 0)
	// Our own process is not looked into, as that of another user may not be.
	listener, err := net.Listen("unix", filepath.Join(root, "y", "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var st, own unix.Stat_t
	if err := errors.Join(unix.Stat(filepath.Join(root, "x", "s"), &st), unix.Stat(filepath.Join(root, "y", "s"), &own)); err != nil {
		t.Fatal(err)
	}
	users, err := FindUsers(root)
	if err != nil {
		t.Fatal(err)
	}
	switch err := eachBoundSocket(func(uint32, uint32, uint64) {}); err {
	case nil:
	case errors.ErrUnsupported, unix.EPROTONOSUPPORT:
		t.Skipf("this kernel does not tell what sockets are bound to: %v", err)
	default:
		t.Fatal(err)
	}
	use, used := users.OfSocket(st.Ino)
	if want := fmt.Sprintf("pid %d has a bound socket in it", pid); !used || use != (Use{int32(pid), socketUse}) || use.String() != want {
		t.Errorf("it is used: %v, %v, want %q", used, use, want)
	}
	if use, used := users.OfSocket(own.Ino); !used || use.String() != "a process that cannot be inspected has a bound socket in it" {
		t.Errorf("of one whose owner is not known: used: %v, %v", used, use)
	}
	end()
	users, err = FindUsers(root)
	if err != nil {
		t.Fatal(err)
	}
	if use, used := users.OfSocket(st.Ino); used {
		t.Errorf("when its user has exited it is used: %+v", use)
	}
}

// The table of a network namespace is read of a process that is still in it, whichever of
// those that were there have exited or left.
func TestSocketsWhenTheFirstProcessHasGone(t *testing.T) {
	root := usedRoot(t)
	listener, err := net.Listen("unix", filepath.Join(root, "x", "s"))
	if err != nil {
		t.Skipf("no socket: %v", err)
	}
	defer listener.Close()
	tree, err := treeOf(root)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Skipf("no /proc: %v", err)
	}
	u := Users{root: root, byName: make(map[string]Use), sockets: make(map[uint32]Use)}
	l := lookout{Users: &u, views: newViews(tree), owners: make(map[uint64]*user), nets: make(map[string][]*user)}
	self := &user{pid: int32(os.Getpid()), dir: "/proc/self", net: ours}
	if self.view, err = l.views.of(self.dir); err != nil {
		t.Fatal(err)
	}
	l.nets["net"] = []*user{
		{pid: 1 << 30, dir: processDir(1 << 30), net: ours}, // has exited
		{pid: self.pid, dir: self.dir, net: "net:[1]"},      // has entered another one
		self,
	}
	if err := l.boundSockets(); err != nil {
		t.Fatal(err)
	}
	if use, used := u.Of("x"); !used || use.PID != self.pid {
		t.Errorf("used: %v, %+v", used, use)
	}
}

// A program that is run by the loader lies where it lies, not where the loader does.
func TestLoaderRunsProgram(t *testing.T) {
	loaders, _ := filepath.Glob("/lib*/ld-linux*.so.*")
	sleep, err := exec.LookPath("sleep")
	if len(loaders) == 0 || err != nil {
		t.Skip("no dynamic loader here")
	}
	dir := filepath.Join(usedRoot(t), "x")
	text, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x"), text, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(loaders[0], filepath.Join(dir, "x"), "1000")
	if err := cmd.Start(); err != nil {
		t.Skipf("no program to be run by its loader: %v", err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	ask := func(dir string) Whereabouts {
		f, h := inspect(uint32(cmd.Process.Pid), Query{Dir: dir})
		h.Close()
		return f.Exe
	}
	daemondirtest.Eventually(t, "the program is mapped", func() bool { return ask(dir) == ExeInside })
	if got := ask(filepath.Join(filepath.Dir(dir), "y")); got != ExeElsewhere {
		t.Errorf("of another directory: %d, want elsewhere", got)
	}
}

// Where a program lies is known by what the process itself sees.
func TestWhereabouts(t *testing.T) {
	q, cmd := start(t, "a")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Dir(q.Dir), link); err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	check := func(rule, dir string, want Whereabouts) {
		t.Helper()
		f, h := inspect(uint32(cmd.Process.Pid), Query{Dir: dir})
		h.Close()
		if f.Exe != want {
			t.Errorf("%s: %d (%v), want %d", rule, f.Exe, f.Problem, want)
		}
	}
	check("in the dir", q.Dir, ExeInside)
	check("by a symlink to the root", filepath.Join(link, filepath.Base(q.Dir)), ExeInside)
	check("elsewhere", other, ExeElsewhere)
	if err := os.Remove(filepath.Join(q.Dir, "a")); err != nil {
		t.Fatal(err)
	}
	check("its link gone", q.Dir, ExeInside)
	check("in no dir", "/no/such/dir", ExeUnknown)
}

// A process whose first thread has exited has no program by /proc, as a kernel thread.
func TestFirstThreadHasExited(t *testing.T) {
	dir := filepath.Join(usedRoot(t), "x")
	pid, _ := startUser(t, "first thread has exited", dir, 0)
	ask := func(dir string) Whereabouts {
		f, h := inspect(uint32(pid), Query{Dir: dir})
		h.Close()
		if !f.Exists || f.Zombie {
			t.Errorf("%+v, want a process", f)
		}
		return f.Exe
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	daemondirtest.Eventually(t, "the thread has exited", func() bool {
		_, err := os.Readlink(processDir(int32(pid)) + "/exe")
		return err != nil
	})
	if got := ask(filepath.Dir(self)); got != ExeInside {
		t.Errorf("its program lies %d, want inside", got)
	}
	if got := ask(dir); got != ExeElsewhere {
		t.Errorf("its program lies %d, want elsewhere", got)
	}
}

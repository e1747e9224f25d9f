//go:build unix && (!linux || portable)

package proc

import (
	"errors"
	"net"
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

// lsofRoot returns a root with the dirs x and y, or skips the test where lsof is missing.
func lsofRoot(t *testing.T) string {
	t.Helper()
	if _, _, err := lsofFiles(); err != nil {
		t.Skip(err)
	}
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err == nil {
		err = errors.Join(os.Mkdir(filepath.Join(root, "x"), 0o755), os.Mkdir(filepath.Join(root, "y"), 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// use starts a process that setUp has given something to use.
func use(t *testing.T, setUp func(cmd *exec.Cmd)) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	setUp(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

func findUsers(t *testing.T, root string) Users {
	t.Helper()
	users, err := FindUsers(root)
	if err != nil {
		t.Fatal(err)
	}
	return users
}

// Whoever uses a directory is found, and only of that directory; and nobody any more when it
// has exited.
func TestUsersByLsof(t *testing.T) {
	for _, row := range []struct {
		want string
		use  func(cmd *exec.Cmd, dir string) error
	}{
		{"its working directory", func(cmd *exec.Cmd, dir string) error {
			cmd.Dir = dir
			return nil
		}},
		{"its working directory", func(cmd *exec.Cmd, dir string) error {
			cmd.Dir = filepath.Join(dir, "below", "it")
			return os.MkdirAll(cmd.Dir, 0o755)
		}},
		{"an open file", func(cmd *exec.Cmd, dir string) error {
			f, err := os.Create(filepath.Join(dir, "log"))
			cmd.Stdout = f
			return err
		}},
		{"its program", func(cmd *exec.Cmd, dir string) error {
			program := filepath.Join(dir, "x")
			sleep := cmd.Path
			cmd.Path = program
			return daemondirtest.CopyProgram(program, sleep)
		}},
	} {
		t.Run(row.want, func(t *testing.T) {
			root := lsofRoot(t)
			cmd := use(t, func(cmd *exec.Cmd) {
				if err := row.use(cmd, filepath.Join(root, "x")); err != nil {
					t.Fatal(err)
				}
			})
			if f, ok := cmd.Stdout.(*os.File); ok {
				f.Close() // ours
			}
			users := findUsers(t, root)
			if use, used := users.Of("x"); !used || use != (Use{int32(cmd.Process.Pid), row.want}) {
				t.Errorf("it is used: %v, %+v, want %q by pid %d", used, use, row.want, cmd.Process.Pid)
			}
			if use, used := users.Of("y"); used {
				t.Errorf("the other is used: %+v", use)
			}
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if use, used := findUsers(t, root).Of("x"); used {
				t.Errorf("when its user has exited it is used: %+v", use)
			}
		})
	}
}

// A name is found whatever bytes it has, and is not taken for another.
func TestUsersByLsofOfStrangeNames(t *testing.T) {
	root := lsofRoot(t)
	for _, pair := range [][2]string{{"new\nline", `new\nline`}, {"^A", "^B"}, {"jalapeño", "jalapeno"}, {`back\slash`, "backslash"}, {" ", "  "}, {"a (deleted)", "a"}} {
		used, unused := pair[0], pair[1]
		for _, name := range pair {
			if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
				t.Skip(err)
			}
		}
		use(t, func(cmd *exec.Cmd) { cmd.Dir = filepath.Join(root, used) })
		users := findUsers(t, root)
		if _, ok := users.Of(used); !ok {
			t.Errorf("%q is not used", used)
		}
		// Of two names that some version of lsof writes alike, both are kept.
		if _, ok := users.Of(unused); ok && unused != `new\nline` {
			t.Errorf("%q is used, and not %q", unused, used)
		}
	}
}

// A root is found under any path, whose case or symlinks may not be those of the kernel, and
// with bytes that lsof escapes.
func TestUsersByLsofOfStrangeRoot(t *testing.T) {
	for _, name := range []string{"jalapeño\n", `back\slash`, "^A\x02"} {
		root := filepath.Join(lsofRoot(t), name)
		if err := os.MkdirAll(filepath.Join(root, "x"), 0o755); err != nil {
			t.Skip(err)
		}
		use(t, func(cmd *exec.Cmd) { cmd.Dir = filepath.Join(root, "x") })
		if _, used := findUsers(t, root).Of("x"); !used {
			t.Errorf("in %q: it is not used", name)
		}
		link := filepath.Join(t.TempDir(), name)
		if err := os.Symlink(root, link); err != nil {
			t.Fatal(err)
		}
		if _, used := findUsers(t, link).Of("x"); !used {
			t.Errorf("in %q by a symlink: it is not used", name)
		}
	}
}

// A socket is found by the path that it is bound to, and by its file if that is another path.
func TestSocketsByLsof(t *testing.T) {
	root := lsofRoot(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(root, link); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"x": filepath.Join(root, "x", "s"), "y": filepath.Join(link, "y", "s")} {
		listener, err := net.Listen("unix", path)
		if err != nil {
			t.Skip(err) // such as a path that is too long
		}
		defer listener.Close()
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		users := findUsers(t, root)
		byName, used := users.Of(name)
		if !used {
			byName, used = users.OfSocket(st.Ino)
		}
		if want := (Use{int32(os.Getpid()), socketUse}); !used || byName != want {
			t.Errorf("%s: it is used: %v, %+v, want %+v", name, used, byName, want)
		}
	}
}

// pathOnly leaves a PATH on which only lsof is found, which is this script; empty: nothing.
func pathOnly(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if script != "" {
		if err := os.WriteFile(filepath.Join(dir, "lsof"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	places := lsofPlaces
	lsofPlaces = nil
	t.Cleanup(func() { lsofPlaces = places })
	t.Setenv("PATH", dir)
}

// What lsof does not tell is not nothing: then no user is known.
func TestUsersWithoutLsof(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	limit := lsofTime
	lsofTime = 2 * time.Second
	t.Cleanup(func() { lsofTime = limit })
	for _, row := range []struct{ rule, script, want string }{
		{"it hangs", "exec " + sleep + " 60", "has not ended within 2s"},
		{"its child hangs", sleep + " 60 & " + sleep + " 60", "has not ended within 2s"},
		{"it is missing", "", "without lsof"},
		{"it lists nothing", "exit 1", "does not list what this process has open"},
		{"it lists others only", `printf 'p1\0\nfcwd\0tDIR\0n/\0\n'`, "does not list what this process has open"},
		{"it is refused", "echo no >&2; exit 2", "exit status 2"},
		{"it crashes", "kill -SEGV $$", "signal: segmentation fault"},
		{"its output is cut off", `printf 'p1\0\nfcwd\0tDI'`, "is cut off"},
		{"it names the disk only", `i=0; printf 'p%d\0\n' $PPID; while [ $i -lt 100 ]; do printf 'f%d\0tDIR\0n/ (/dev/disk1s1)\0\n' $i; i=$((i+1)); done`,
			"does not name the runtime root"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			pathOnly(t, row.script)
			_, err := FindUsers(root)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("error %v, want %q", err, row.want)
			}
		})
	}
}

// lsof is found where a PATH does not lead to.
func TestPlacesOfLsof(t *testing.T) {
	pathOnly(t, "exit 3")
	lsofPlaces = []string{filepath.Join(t.TempDir(), "lsof"), filepath.Join(os.Getenv("PATH"), "lsof")}
	t.Setenv("PATH", t.TempDir())
	if _, _, err := lsofFiles(); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error %v, want that of the script", err)
	}
}

// Processes that lsof may not look into are counted, but not zombies.
func TestUnreadableByLsof(t *testing.T) {
	root := lsofRoot(t)
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(sleep, "1000")
	refused := exec.Command(sleep, "1000")
	zombie := exec.Command(sleep, "0")
	if err := errors.Join(cmd.Start(), refused.Start(), zombie.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = errors.Join(cmd.Process.Kill(), refused.Process.Kill())
		_ = errors.Join(cmd.Wait(), refused.Wait(), zombie.Wait())
	})
	daemondirtest.Eventually(t, "a zombie", func() bool {
		_, is, err := exists(int32(zombie.Process.Pid))
		return err == nil && is
	})
	u := Users{root: root, byName: make(map[string]Use), sockets: make(map[uint32]Use)}
	// An lsof that lists this process, and another that it may not look into.
	pathOnly(t, `printf 'p`+strconv.Itoa(refused.Process.Pid)+`\0\nfcwd\0tunknown\0n/proc/1/cwd (readlink: Permission denied)\0\n'; i=0; printf 'p%d\0\n' $PPID; while [ $i -lt 100 ]; do printf 'f%d\0tDIR\0n'`+root+`'\0\n' $i; i=$((i+1)); done`)
	pids := []int32{0, int32(os.Getpid()), int32(cmd.Process.Pid), int32(refused.Process.Pid), int32(zombie.Process.Pid), daemondirtest.DeadPID}
	if err := u.look(pids); err != nil || u.Unreadable != 2 {
		t.Errorf("%d processes are unreadable, want 2; %v", u.Unreadable, err)
	}
}

// Whose a process is is known where its program is not.
func TestForeignByUser(t *testing.T) {
	dir := t.TempDir()
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		t.Fatal(err)
	}
	if (Query{Dir: dir}).foreign(int32(os.Getpid())) {
		t.Error("our own process is another user's")
	}
	if uid, err := userOf(1); err == nil && uid != st.Uid && !(Query{Dir: dir}).foreign(1) {
		t.Error("the first process is taken for ours")
	}
	if os.Geteuid() == 0 { // else the first process is another user's
		if err := os.Chown(dir, 65534, -1); err != nil {
			t.Fatal(err)
		}
		if !(Query{Dir: dir}).foreign(int32(os.Getpid())) {
			t.Error("root's process is taken for that of the directory's owner")
		}
	}
	if (Query{Dir: filepath.Join(dir, "no")}).foreign(1) {
		t.Error("without a directory")
	}
}

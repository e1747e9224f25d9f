//go:build !portable

package proc

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir/daemondirtest"
)

// Out of descriptors nothing is known of users, which is not the same as that there are none.
func TestUsersOutOfDescriptors(t *testing.T) {
	root := usedRoot(t)
	pid, _ := startUser(t, "working directory", filepath.Join(root, "x"), 0)
	leaderless, _ := startUser(t, "first thread has exited", filepath.Join(root, "y"), 0)
	daemondirtest.Eventually(t, "the thread has exited", func() bool {
		_, err := os.Readlink(processDir(int32(leaderless)) + "/exe")
		return err != nil
	})
	tree, err := treeOf(root)
	if err != nil {
		t.Fatal(err)
	}
	l := lookout{
		Users: &Users{root: root, byName: make(map[string]Use), sockets: make(map[uint32]Use)},
		views: newViews(tree), owners: make(map[uint64]*user), nets: make(map[string][]*user),
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	_, findErr := FindUsers(root)
	userErr, leaderlessErr := l.process(int32(pid)), l.process(int32(leaderless))
	filesErr := l.boundFiles()
	x, exitsErr := NewExits()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"who uses the root": findErr, "what a process uses": userErr, "what its threads use": leaderlessErr, "sockets": filesErr, "exits": exitsErr,
	} {
		if !errors.Is(err, syscall.EMFILE) {
			t.Errorf("%s: error %v, want that descriptors have run out", what, err)
		}
	}
	if x != nil {
		t.Error("exits are waited for without an epoll")
	}
	if l.Unreadable != 0 {
		t.Errorf("%d processes are taken for ones that may not be looked into", l.Unreadable)
	}
}

// They may run out at any moment: when one process is looked into, or a thread of it, after others
// were. Then nothing is known either.
func TestUsersWhenDescriptorsRunOut(t *testing.T) {
	root := usedRoot(t)
	pid := strconv.Itoa(daemondirtest.DeadPID)
	for how, task := range map[string]string{"a process": pid, "a thread": pid + "/task/1"} {
		t.Run(how, func(t *testing.T) {
			// A /proc with one process, whose table of mounts, a FIFO, is read before what it has open.
			proc := t.TempDir()
			dir := filepath.Join(proc, task)
			table := filepath.Join(dir, "mountinfo")
			for _, err := range []error{
				os.MkdirAll(filepath.Join(dir, "ns"), 0o755),
				os.Symlink("/proc/self", filepath.Join(proc, "self")),
				os.WriteFile(filepath.Join(proc, pid, "stat"), []byte(pid+" (a) Z 1 1 1 0 -1 0"), 0o644),
				os.Symlink("/bin/a", filepath.Join(dir, "exe")),
				os.Symlink("/", filepath.Join(dir, "root")),
				os.Symlink("mnt:[1]", filepath.Join(dir, "ns/mnt")),
				unix.Mkfifo(table, 0o600),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("HOST_PROC", proc)
			found := make(chan error, 1)
			go func() {
				_, err := FindUsers(root)
				found <- err
			}()
			var w *os.File
			daemondirtest.Eventually(t, "the table of mounts is read", func() (ok bool) {
				var err error
				w, err = os.OpenFile(table, os.O_WRONLY|unix.O_NONBLOCK, 0)
				return err == nil
			})
			var limit unix.Rlimit
			if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
				t.Fatal(err)
			}
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: limit.Max}); err != nil {
				t.Fatal(err)
			}
			w.Close()
			err := <-found
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
				t.Fatal(err)
			}
			if !errors.Is(err, syscall.EMFILE) || !strings.Contains(err.Error(), "pid "+pid) {
				t.Errorf("error %v, want that descriptors have run out at pid %s", err, pid)
			}
		})
	}
}

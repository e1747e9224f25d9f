//go:build !portable

package proc

import (
	"errors"
	"os"
	"path/filepath"
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

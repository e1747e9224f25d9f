package integration

// Ordinary users: root may do too much for half of what can go wrong to go wrong.

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// nobodyID is the user and group that tests become when they are root.
const nobodyID = 65534

// ordinaryUser returns attributes with which a process runs as an ordinary user who
// owns root and all below it, as it is now.
func ordinaryUser(t *testing.T, root string) *syscall.SysProcAttr {
	t.Helper()
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		return attr
	}
	attr.Credential = &syscall.Credential{Uid: nobodyID, Gid: nobodyID}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		// Not the trampolines: they are one file, and everybody's.
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Sys().(*syscall.Stat_t).Nlink > 1 {
			return nil
		}
		return os.Lchown(path, nobodyID, nobodyID)
	})
	if err != nil {
		t.Fatal(err)
	}
	// The way to it, which only its maker may go by default.
	for dir := filepath.Dir(root); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		noError(t, os.Chmod(dir, 0o755))
	}
	return attr
}

// chmodBelow gives all directories below dir that mode, so that they can be removed.
func chmodBelow(dir string, mode fs.FileMode) {
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, _ error) error {
		if entry != nil && entry.IsDir() {
			os.Chmod(path, mode)
		}
		return nil
	})
}

// owned is what a refresh must leave as it is, beside the content.
type owned struct {
	Mode     uint32
	Ino      uint64
	UID, GID uint32
}

func ownership(t *testing.T, path string) owned {
	t.Helper()
	var st unix.Stat_t
	noError(t, unix.Lstat(path, &st))
	return owned{st.Mode, st.Ino, st.Uid, st.Gid}
}

// checkRecent fails the test unless value is a time in ms between since and now, in
// plain digits.
func checkRecent(t *testing.T, value string, since time.Time) {
	t.Helper()
	ms, err := strconv.ParseInt(value, 10, 64)
	if err != nil || ms < since.UnixMilli() || ms > time.Now().UnixMilli() {
		t.Errorf("last_seen_unix_ms is %q, not a time since %d", value, since.UnixMilli())
	}
}

// flockShared protects a daemon dir as a manager does, until the end of the test.
func flockShared(t *testing.T, dir string) {
	t.Helper()
	flockDir(t, dir, unix.LOCK_SH)
}

// lockRoot takes the lock of a root as a collector does that answers nobody.
func lockRoot(t *testing.T, root string) {
	t.Helper()
	flockDir(t, root, unix.LOCK_EX)
}

func flockDir(t *testing.T, dir string, how int) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	noError(t, unix.Flock(int(f.Fd()), how))
}

//go:build !portable

package fsys

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// The table of locks is read for the file system at hand, whatever holds the lock.
func TestLocks(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "a")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	for _, how := range []int{unix.LOCK_SH, unix.LOCK_EX} {
		if err := unix.Flock(int(f.Fd()), how); err != nil {
			t.Fatal(err)
		}
		locks, err := Locks(f)
		if err != nil || locks[st.Ino] != strconv.Itoa(os.Getpid()) {
			t.Errorf("lock %d: %q, %v; want pid %d", how, locks[st.Ino], err, os.Getpid())
		}
		if held, known := Holder(dir); !known || held == nil || held.PID != strconv.Itoa(os.Getpid()) || held.Elsewhere {
			t.Errorf("lock %d: held by %+v, %v", how, held, known)
		}
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if locks, err := Locks(f); err != nil || locks[st.Ino] != "" {
		t.Errorf("unlocked: %q, %v", locks[st.Ino], err)
	}
	if held, known := Holder(dir); !known || held != nil {
		t.Errorf("unlocked: held by %+v, %v", held, known)
	}
}

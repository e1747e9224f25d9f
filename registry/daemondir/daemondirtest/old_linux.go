package daemondirtest

import (
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// MakeOld sets the modification time of everything at path and below it to age ago. It
// follows no symlink.
func MakeOld(t testing.TB, path string, age time.Duration) {
	t.Helper()
	ts := unix.NsecToTimespec(time.Now().Add(-age).UnixNano())
	err := filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		t.Fatal(err)
	}
}

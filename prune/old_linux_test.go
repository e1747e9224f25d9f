package prune

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// makeOld makes everything at path and below it appear to have been written two hours ago.
func makeOld(t *testing.T, path string) {
	t.Helper()
	ts := unix.NsecToTimespec(time.Now().Add(-2 * time.Hour).UnixNano())
	err := filepath.WalkDir(path, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		t.Fatal(err)
	}
}

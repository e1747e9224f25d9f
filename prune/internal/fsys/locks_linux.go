//go:build !portable

package fsys

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"runtimegc/prune/internal/mounts"
)

// Holder describes the process that holds a flock on dir.
func Holder(dir *os.File) string {
	var st unix.Stat_t
	if unix.Fstat(int(dir.Fd()), &st) == nil {
		if locks, err := Locks(dir); err == nil && locks[st.Ino] != "" {
			return "pid " + locks[st.Ino]
		}
	}
	return "a process that is not visible from here"
}

// Locks returns the pid that holds a flock(2), for each locked inode of dir's file system.
// It takes no lock itself, but reads the table of proc_locks(5):
//
//	1: FLOCK  ADVISORY  WRITE 1234 fd:00:5678 0 EOF
//
// The table has only locks of processes on this machine and in our pid namespace or one
// below it.
func Locks(dir *os.File) (map[uint64]string, error) {
	device, err := lockDevice(dir)
	if err != nil {
		return nil, fmt.Errorf("reading locks: %w", err)
	}
	f, err := os.Open("/proc/locks")
	if err != nil {
		return nil, fmt.Errorf("reading locks: %w", err)
	}
	defer f.Close()
	locks := make(map[uint64]string)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// A process that waits for a lock has an arrow as the second field.
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || fields[1] != "FLOCK" {
			continue
		}
		var major, minor uint32
		var ino uint64
		if _, err := fmt.Sscanf(fields[5], "%x:%x:%d", &major, &minor, &ino); err == nil && unix.Mkdev(major, minor) == device {
			locks[ino] = fields[4]
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading locks: %w", err)
	}
	return locks, nil
}

// lockDevice returns the device number of dir's file system in the table of locks. That is
// the mount's number. It differs from that of stat(2) on btrfs, where each subvolume has its
// own.
func lockDevice(dir *os.File) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return 0, err
	}
	var stx unix.Statx_t
	if unix.Statx(int(dir.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &stx) != nil || stx.Mask&unix.STATX_MNT_ID == 0 {
		return st.Dev, nil // before Linux 5.8
	}
	table, err := os.ReadFile(mounts.Table)
	if err != nil {
		return 0, err
	}
	for m := range mounts.In(table) {
		if m.ID == stx.Mnt_id {
			return m.Device, nil
		}
	}
	return 0, errors.New("the root's mount is not in the mount table")
}

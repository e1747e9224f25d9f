//go:build !portable

package fsys

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"runtimegc/prune/internal/mounts"
)

// findHolder returns who holds a flock on f, as far as the table of locks tells. It reports
// false if that has nobody, or somebody who has exited: the lock may be free by now, or its
// holder is where the table does not reach.
func findHolder(f *os.File) (*HeldError, bool) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return &HeldError{}, true
	}
	locks, err := Locks(f)
	if err != nil {
		return &HeldError{}, true
	}
	ours, err := namespaceOf("self")
	if err != nil {
		return &HeldError{}, true // this /proc is not of our pid namespace, or of none above it
	}
	pid, found := locks[st.Ino]
	if !found {
		return &HeldError{Elsewhere: true}, false
	}
	theirs, err := namespaceOf(pid)
	if err != nil {
		return &HeldError{PID: pid}, !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ESRCH)
	}
	elsewhere := theirs.depth != ours.depth || theirs.link != "" && ours.link != "" && theirs.link != ours.link
	return &HeldError{PID: pid, Elsewhere: elsewhere}, true
}

// Holder returns who holds the lock of a root, without taking it, or nil if that is nobody, as
// far as the table of locks tells. It reports false if the table cannot be read.
func Holder(root string) (held *HeldError, known bool) {
	dir, err := os.Open(root)
	if err != nil {
		return nil, errors.Is(err, fs.ErrNotExist)
	}
	defer dir.Close()
	switch held, found := findHolder(dir); {
	case found && held.PID != "":
		return held, true
	case found:
		return nil, false
	}
	return nil, true
}

// A namespace identifies a pid namespace, as far as we may know.
type namespace struct {
	depth int    // how many pids a process there has, from the namespace of /proc downwards
	link  string // empty: we may not read it
}

// namespaceOf returns the pid namespace of a process, a pid or "self".
func namespaceOf(pid string) (ns namespace, err error) {
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return ns, err
	}
	for line := range strings.Lines(string(status)) {
		if pids, ok := strings.CutPrefix(line, "NSpid:"); ok { // Linux 4.1
			ns.depth = len(strings.Fields(pids))
		}
	}
	// Another user's is not to be read.
	ns.link, _ = os.Readlink("/proc/" + pid + "/ns/pid")
	return ns, nil
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
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil || st.Type != unix.PROC_SUPER_MAGIC {
		return nil, errors.New("reading locks: /proc/locks is hidden by something else") // it would read as empty
	}
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

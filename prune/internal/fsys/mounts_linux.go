//go:build !portable

package fsys

import (
	"fmt"
	"io"
	"os"
	"strings"

	"runtimegc/prune/internal/mounts"
	"runtimegc/registry/daemondir"

	"golang.org/x/sys/unix"
)

// mountsBelow knows what is mounted below the root. Comparing device numbers is not enough: a
// bind mount from the same file system has the same number.
type mountsBelow struct {
	root  string // without symlinks
	table *os.File
	names []string // mount points below the root, relative to it
	count int      // of the changes of the table
}

// openMounts opens and reads the mount table. root must not contain symlinks.
func openMounts(root string) (*mountsBelow, error) {
	// Not by os.Open: the poller of Go's runtime would poll it as well, and a change is
	// reported only once.
	fd, err := unix.Open(mounts.Table, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reading mounts: %w", failed("open", mounts.Table, err))
	}
	table := os.NewFile(uintptr(fd), mounts.Table)
	m := &mountsBelow{root: root, table: table}
	if err := m.read(); err != nil {
		table.Close()
		return nil, err
	}
	return m, nil
}

func (m *mountsBelow) close() { m.table.Close() }

// below reports whether anything is mounted on name in the root, or below it.
func (m *mountsBelow) below(name string) (bool, error) {
	if _, err := m.changes(); err != nil {
		return false, err
	}
	for _, point := range m.names {
		if point == name || strings.HasPrefix(point, name+"/") {
			return true, nil
		}
	}
	return false, nil
}

// changes returns how often the table has changed since it was opened, or more seldom if
// nobody asked in between. If it has changed now, it is read again.
func (m *mountsBelow) changes() (int, error) {
	// poll(2) reports POLLPRI if the table has changed since the last poll
	// (proc_pid_mounts(5)): one system call, instead of reading the whole table.
	fds := []unix.PollFd{{Fd: int32(m.table.Fd()), Events: unix.POLLPRI}}
	n, err := daemondir.IgnoringEINTR(func() (int, error) { return unix.Poll(fds, 0) })
	if err != nil || n > 0 {
		m.count++
		err = m.read()
	}
	return m.count, err
}

func (m *mountsBelow) read() error {
	m.names = nil
	if _, err := m.table.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("reading mounts: %w", err)
	}
	text, err := io.ReadAll(m.table)
	if err != nil {
		return fmt.Errorf("reading mounts: %w", err)
	}
	for mount := range mounts.In(text) {
		if name, ok := strings.CutPrefix(mount.Point, m.root+"/"); ok {
			m.names = append(m.names, name)
		}
	}
	return nil
}

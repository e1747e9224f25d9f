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
}

// openMounts opens and reads the mount table. root must not contain symlinks.
func openMounts(root string) (*mountsBelow, error) {
	table, err := os.Open(mounts.Table)
	if err != nil {
		return nil, fmt.Errorf("reading mounts: %w", err)
	}
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
	// poll(2) reports POLLPRI if the table has changed since the last poll
	// (proc_pid_mounts(5)): one system call, instead of reading the whole table.
	fds := []unix.PollFd{{Fd: int32(m.table.Fd()), Events: unix.POLLPRI}}
	n, err := daemondir.IgnoringEINTR(func() (int, error) { return unix.Poll(fds, 0) })
	if err != nil || n > 0 {
		if err := m.read(); err != nil {
			return false, err
		}
	}
	for _, point := range m.names {
		if point == name || strings.HasPrefix(point, name+"/") {
			return true, nil
		}
	}
	return false, nil
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

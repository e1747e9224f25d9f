//go:build !portable

package fsys

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"os"
	"strconv"
	"strings"

	"runtimegc/registry/daemondir"

	"golang.org/x/sys/unix"
)

// mounts knows what is mounted below the root. Comparing device numbers is not enough: a
// bind mount from the same file system has the same number.
type mounts struct {
	root  string // without symlinks
	table *os.File
	names []string // mount points below the root, relative to it
}

const mountTable = "/proc/self/mountinfo"

// openMounts opens and reads the mount table. root must not contain symlinks.
func openMounts(root string) (*mounts, error) {
	table, err := os.Open(mountTable)
	if err != nil {
		return nil, fmt.Errorf("reading mounts: %w", err)
	}
	m := &mounts{root: root, table: table}
	if err := m.read(); err != nil {
		table.Close()
		return nil, err
	}
	return m, nil
}

func (m *mounts) close() { m.table.Close() }

// below reports whether anything is mounted on name in the root, or below it.
func (m *mounts) below(name string) (bool, error) {
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

func (m *mounts) read() error {
	m.names = nil
	if _, err := m.table.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("reading mounts: %w", err)
	}
	text, err := io.ReadAll(m.table)
	if err != nil {
		return fmt.Errorf("reading mounts: %w", err)
	}
	for mount := range mountsIn(text) {
		if name, ok := strings.CutPrefix(mount.point, m.root+"/"); ok {
			m.names = append(m.names, name)
		}
	}
	return nil
}

// A mount is one line of the mount table, with the fields that we need.
type mount struct {
	id     uint64
	device uint64
	point  string
}

// mountsIn yields the mounts in a table of proc_pid_mountinfo(5):
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//
// The fifth field is the mount point, with white space and backslashes escaped as three
// octal digits.
func mountsIn(table []byte) iter.Seq[mount] {
	return func(yield func(mount) bool) {
		for line := range bytes.Lines(table) {
			fields := strings.SplitN(string(line), " ", 6)
			if len(fields) < 6 {
				continue
			}
			var major, minor uint32
			id, err := strconv.ParseUint(fields[0], 10, 64)
			if err == nil {
				_, err = fmt.Sscanf(fields[2], "%d:%d", &major, &minor)
			}
			if err == nil && !yield(mount{id, unix.Mkdev(major, minor), unescapeOctal(fields[4])}) {
				return
			}
		}
	}
}

func unescapeOctal(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

//go:build !portable

package prune

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mounts knows what is mounted below the root. The device number alone does not tell: a
// bind mount from the same file system has the same.
type mounts struct {
	root  string // free of symlinks
	table *os.File
	names []string // of what is mounted below the root, relative to it
}

// openMounts reads the mount table for what is below root, which must be free of
// symlinks.
func openMounts(root string) (*mounts, error) {
	table, err := os.Open("/proc/self/mountinfo")
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

// below returns whether anything is mounted on name in the root, or below it.
func (m *mounts) below(name string) (bool, error) {
	// The table polls as exceptional when it has changed since it was last asked
	// (proc_pid_mounts(5)): one system call in place of reading it all.
	fds := []unix.PollFd{{Fd: int32(m.table.Fd()), Events: unix.POLLPRI}}
	for {
		n, err := unix.Poll(fds, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n > 0 {
			if err := m.read(); err != nil {
				return false, err
			}
		}
		break
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
	for line := range bytes.Lines(text) {
		// proc_pid_mountinfo(5): the fifth field is the mount point, white space and
		// backslashes in it as three octal digits.
		fields := strings.SplitN(string(line), " ", 6)
		if len(fields) < 6 {
			continue
		}
		if name, ok := strings.CutPrefix(unescapeOctal(fields[4]), m.root+"/"); ok {
			m.names = append(m.names, name)
		}
	}
	return nil
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

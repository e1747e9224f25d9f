//go:build !portable

package mounts

import (
	"bytes"
	"iter"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Table is the mount table of this process. It polls as exceptional when it has changed
// (proc_pid_mounts(5)).
const Table = "/proc/self/mountinfo"

// A Mount is one line of a mount table, as far as we read it.
type Mount struct {
	ID     uint64
	Device uint64 // of the file system; on btrfs not what stat(2) gives, which is the subvolume's
	Root   string // the directory or file of the file system that is mounted
	Point  string // where
}

// In yields the mounts of a table by proc_pid_mountinfo(5):
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//
// White space and backslashes in the fourth and the fifth field are written as three octal
// digits.
func In(table []byte) iter.Seq[Mount] {
	return func(yield func(Mount) bool) {
		for line := range bytes.Lines(table) {
			fields := strings.SplitN(string(line), " ", 6)
			if len(fields) < 6 {
				continue
			}
			id, err := strconv.ParseUint(fields[0], 10, 64)
			major, minor, _ := strings.Cut(fields[2], ":")
			a, errA := strconv.ParseUint(major, 10, 32)
			b, errB := strconv.ParseUint(minor, 10, 32)
			if err != nil || errA != nil || errB != nil {
				continue
			}
			if !yield(Mount{id, unix.Mkdev(uint32(a), uint32(b)), Unescape(fields[3]), Unescape(fields[4])}) {
				return
			}
		}
	}
}

// Unescape undoes the octal escapes of a path in a table of /proc.
func Unescape(s string) string {
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

// Covering returns the mount of a table that shows path, and the path of it in the file
// system of that mount. It reports false if none does.
func Covering(table []byte, path string) (m Mount, inside string, ok bool) {
	for mount := range In(table) {
		// Of two at one point the later is on top.
		if _, under := Below(path, mount.Point); under && (!ok || len(mount.Point) >= len(m.Point)) {
			m, ok = mount, true
		}
	}
	rel, _ := Below(path, m.Point)
	return m, Join(m.Root, rel), ok
}

// Below returns path relative to dir, and "" if it is dir. It reports false if it is
// neither that nor below it. Both are absolute and clean.
func Below(path, dir string) (rel string, ok bool) {
	if dir == "/" {
		return strings.CutPrefix(path, "/")
	}
	rest, ok := strings.CutPrefix(path, dir)
	switch {
	case !ok || rest == "":
		return "", ok
	case rest[0] != '/':
		return "", false
	}
	return rest[1:], true
}

// Join is the reverse of [Below].
func Join(dir, rel string) string {
	switch {
	case rel == "":
		return dir
	case dir == "/":
		return "/" + rel
	}
	return dir + "/" + rel
}

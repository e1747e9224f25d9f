//go:build unix && (!linux || portable)

package fsys

import (
	"io/fs"
	"os"
	"syscall"
)

// links returns the number of hard links of the file that info describes.
func links(info fs.FileInfo) uint64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 1
	}
	return uint64(st.Nlink)
}

// linksIn returns the number of hard links of the file name in the directory, described by info.
func linksIn(_ *os.Root, _ string, info fs.FileInfo) uint64 { return links(info) }

// foreign reports whether the file belongs to another user, and we are not root.
func foreign(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && os.Geteuid() != 0 && int(st.Uid) != os.Geteuid()
}

// number returns the number of the file that info describes, on its file system.
func number(info fs.FileInfo) uint64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return uint64(st.Ino)
}

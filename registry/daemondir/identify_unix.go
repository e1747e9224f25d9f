//go:build unix

package daemondir

import (
	"io/fs"
	"syscall"
)

// Identify returns the identity of the directory or file that info describes.
func Identify(info fs.FileInfo) FileID {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return FileID{}
	}
	return FileID{Dev: uint64(st.Dev), Ino: uint64(st.Ino)}
}

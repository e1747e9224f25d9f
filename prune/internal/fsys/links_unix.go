//go:build unix && (!linux || portable)

package fsys

import (
	"io/fs"
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

//go:build darwin || freebsd

package fsys

import (
	"io/fs"
	"syscall"
)

// fixed reports whether chflags(2) forbids the removal of the file that info describes, or of
// what is in it.
func fixed(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Flags&fixedFlags != 0
}

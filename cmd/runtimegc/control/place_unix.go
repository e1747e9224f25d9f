//go:build unix && (!linux || portable)

package control

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// private reports whether only this user, and root, can enter a directory.
func private(dir fs.FileInfo) bool {
	st, ok := dir.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid() && dir.Mode().Perm()&0o077 == 0
}

// refused reports that nobody listens.
func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

//go:build unix

package fsys

import (
	"errors"
	"os"

	"runtimegc/registry/daemondir"

	"golang.org/x/sys/unix"
)

// nonblock is for opening a file that may be a FIFO.
const nonblock = unix.O_NONBLOCK

// ErrLocked says that another process holds a flock(2) on the directory.
var ErrLocked = errors.New("locked")

// Flock takes an exclusive flock(2) on the open directory fd until it is closed, without
// waiting. If the file system has no locks, no process can hold one, so that is no error;
// ENOLCK is one, because it does not tell (no memory, no lock manager on NFS).
func Flock(fd int) error {
	_, err := daemondir.IgnoringEINTR(func() (struct{}, error) {
		return struct{}{}, unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	})
	switch err {
	case nil, unix.ENOTSUP, unix.EINVAL, unix.ENOSYS:
		return nil
	case unix.EWOULDBLOCK:
		return ErrLocked
	}
	return os.NewSyscallError("flock", err)
}

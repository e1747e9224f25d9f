//go:build unix

package prune

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// nonblock keeps an open from waiting for whatever a file may be.
const nonblock = unix.O_NONBLOCK

// errLocked says that somebody else holds a flock(2) on the directory.
var errLocked = errors.New("locked")

// flock takes an exclusive flock(2) on the open directory fd until it is closed, without
// waiting. Where the file system has no locks nobody can hold one, and that is no
// error.
func flock(fd int) error {
	for {
		switch err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err {
		case unix.EINTR:
		case nil, unix.ENOTSUP, unix.EINVAL, unix.ENOLCK, unix.ENOSYS:
			return nil
		case unix.EWOULDBLOCK:
			return errLocked
		default:
			return os.NewSyscallError("flock", err)
		}
	}
}

//go:build !portable

package fsys

import (
	"errors"
	"fmt"
	"io"

	"runtimegc/registry/daemondir"

	"golang.org/x/sys/unix"
)

// A lease (fcntl(2), "Leases") on a sidecar says that nobody else has it open, and
// makes everybody who wants to wait in open(2) until it is given back by closing the
// file: microseconds. So a spawner that rewrites the sidecar does so before or after
// us, never between our read and our write. The kernel ends a lease that is not given
// back within /proc/sys/fs/lease-break-time (45 s); its SIGIO is ignored by Go's
// runtime.
//
// While we hold one, nobody else in this process may wait for the same file: opens
// there are O_NONBLOCK and get daemondir.ErrBusy.

var (
	// ErrOpenElsewhere: somebody has the sidecar open, so there is no lease now.
	ErrOpenElsewhere = errors.New("the sidecar is open elsewhere")
	// ErrNoLeases: neither now nor later; the file system has none, or it is not our file.
	ErrNoLeases = errors.New("no leases on this file")
)

// TakeLease takes a write lease on f until it is closed. The errors are
// ErrOpenElsewhere and ErrNoLeases.
func TakeLease(f *daemondir.File) error {
	_, err := unix.FcntlInt(uintptr(f.Fd()), unix.F_SETLEASE, unix.F_WRLCK)
	switch err {
	case nil:
		return nil
	case unix.EAGAIN:
		return ErrOpenElsewhere
	default: // EACCES: not the owner; EINVAL, ENOLCK, EOPNOTSUPP: not on this file system
		return ErrNoLeases
	}
}

// LeaseHeld says whether the lease on f stands, with nobody waiting for its end.
func LeaseHeld(f *daemondir.File) bool {
	kind, err := unix.FcntlInt(uintptr(f.Fd()), unix.F_GETLEASE, 0)
	return err == nil && kind == unix.F_WRLCK
}

// Patch writes tail at offset of f, over text, which is all of f. It loses nothing: if
// the write comes back short (a full disk), the bytes it replaced are put back.
func Patch(f *daemondir.File, text, tail []byte, offset int) error {
	fd := f.Fd()
	if grown := offset + len(tail) - len(text); grown > 0 {
		// The room for the new bytes first, without changing the size. Not every file system
		// can; there the write itself finds out.
		err := unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, int64(len(text)), int64(grown))
		if err == unix.ENOSPC || err == unix.EDQUOT {
			return fmt.Errorf("making room for %d bytes: %w", grown, err)
		}
	}
	n, err := unix.Pwrite(fd, tail, int64(offset))
	if err == nil && n == len(tail) {
		return nil
	}
	if err == nil {
		err = io.ErrShortWrite
	}
	if n > 0 {
		_, back := unix.Pwrite(fd, text[offset:], int64(offset))
		err = errors.Join(err, back, unix.Ftruncate(fd, int64(len(text))))
	}
	return err
}

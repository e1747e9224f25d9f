//go:build !portable

package fsys

import (
	"errors"
	"fmt"
	"io"

	"runtimegc/registry/daemondir"

	"golang.org/x/sys/unix"
)

// A lease (fcntl(2), "Leases") on a sidecar shows that no other process has it open, and
// makes every open(2) wait until the holder closes the file, which takes microseconds. So a
// spawner rewrites the sidecar before or after us, never between our read and our write. The
// kernel breaks a lease that is not released within /proc/sys/fs/lease-break-time (45 s). Go's
// runtime ignores the SIGIO that announces this.
//
// Meanwhile nothing in this process may wait for the same file: daemondir opens files with
// O_NONBLOCK, and returns ErrBusy.

// HasLeases says that a lease shows whether anybody has a file open. Some file systems have
// none; see [ErrNoLeases].
const HasLeases = true

var (
	// ErrOpenElsewhere says that another process has the sidecar open: try again later.
	ErrOpenElsewhere = errors.New("the sidecar is open elsewhere")
	// ErrNoLeases says that the file system has no leases, or that the file is not ours.
	ErrNoLeases = errors.New("no leases on this file")
)

// TakeLease takes a write lease on f until it is closed. The errors are
// ErrOpenElsewhere and ErrNoLeases.
func TakeLease(f *daemondir.File) error {
	switch _, err := unix.FcntlInt(uintptr(f.Fd()), unix.F_SETLEASE, unix.F_WRLCK); err {
	case nil:
		return nil
	case unix.EAGAIN:
		return ErrOpenElsewhere
	default: // EACCES: not the owner; EINVAL, ENOLCK, EOPNOTSUPP: not on this file system
		return ErrNoLeases
	}
}

// OpenElsewhere returns false: a lease tells.
func OpenElsewhere(string) (bool, error) { return false, nil }

// Busy reports whether err says that a file is being written.
func Busy(err error) bool { return errors.Is(err, daemondir.ErrBusy) }

// LeaseHeld reports whether the lease on f is unbroken, and nobody waits for its end.
func LeaseHeld(f *daemondir.File) bool { return leaseIs(f, unix.F_WRLCK) }

// BrokenByReader reports whether the lease on f is not held because somebody wants to read the file,
// and nobody to write it: F_GETLEASE gives the type that it is to be downgraded to (fcntl(2)).
func BrokenByReader(f *daemondir.File) bool { return leaseIs(f, unix.F_RDLCK) }

func leaseIs(f *daemondir.File, want int) bool {
	kind, err := unix.FcntlInt(uintptr(f.Fd()), unix.F_GETLEASE, 0)
	return err == nil && kind == want
}

// Patch writes tail at offset in f, whose content is text. If it cannot write all of it (a
// full disk), it restores the old bytes.
func Patch(f *daemondir.File, text, tail []byte, offset int) error {
	fd := f.Fd()
	if grown := offset + len(tail) - len(text); grown > 0 {
		// Reserve space for the new bytes, without changing the size. Not every file system can
		// do this; if not, the write shows whether there is space.
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

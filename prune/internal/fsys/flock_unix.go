//go:build unix

package fsys

import (
	"errors"
	"fmt"
	"os"

	"runtimegc/registry/daemondir"

	"golang.org/x/sys/unix"
)

// nonblock is for opening a file that may be a FIFO.
const nonblock = unix.O_NONBLOCK

// ErrLocked says that another process holds a flock(2) on the directory.
var ErrLocked = errors.New("locked")

// Flock takes an exclusive flock(2) on the open file or directory fd until it is closed,
// without waiting. If the file system has no locks, no process can hold one, so that is no
// error. ENOLCK is one, because it does not tell (no memory, no lock manager on NFS). So is
// EBADF: see [RootLock].
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

// lockFileName is the file in a root on a network file system that is locked besides the
// root itself. It is never removed: two processes could hold locks on two files of its name.
const lockFileName = ".runtimegc.lock"

// A RootLock makes one collector of a root. It is a flock(2) on the root directory itself, so
// that no file is left behind, and the kernel releases it however this process ends.
//
// On NFS that is not enough. Linux emulates a flock by a lock on the server that other hosts
// see, but only for files: that of a directory is known to this host alone, and a server's
// rule that an exclusive lock wants a descriptor open for writing, which a directory cannot
// have, makes it EBADF (flock(2), "NFS details"). So on network file systems, and after
// EBADF, a file in the root is locked as well. If only the directory could be locked, that
// lock stays: it keeps a second follower on this host out.
type RootLock struct {
	dir     *os.File
	network bool     // the directory's lock may be unknown to other hosts
	file    *os.File // nil: not opened
}

// OpenLock opens the directory root for [RootLock.Take]. It locks nothing.
func OpenLock(root string) (*RootLock, error) {
	dir, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	network, err := daemondir.NetworkType(root)
	return &RootLock{dir: dir, network: network != "" || err != nil}, nil
}

// Close releases the lock.
func (l *RootLock) Close() {
	l.closeFile()
	l.dir.Close()
}

func (l *RootLock) closeFile() {
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}

// Take takes the lock, without waiting. It may be tried again. The error is a [HeldError] if
// another process holds the lock.
func (l *RootLock) Take() error {
	for try := 1; ; try++ {
		locked, err := l.try()
		if !errors.Is(err, ErrLocked) {
			return err
		}
		held, found := findHolder(locked)
		if found || try == takeTries {
			return held
		}
	}
}

// try returns the file or directory that is locked by another process with ErrLocked.
func (l *RootLock) try() (*os.File, error) {
	err := Flock(int(l.dir.Fd()))
	none := errors.Is(err, unix.EBADF)
	if err != nil && !none {
		return l.dir, err
	}
	if !none && !l.network {
		return nil, nil
	}
	l.closeFile()
	l.file, err = openLockFile(int(l.dir.Fd()))
	if errors.Is(err, unix.EROFS) && !none {
		return nil, nil // nothing can be removed from here
	}
	if err == nil {
		err = Flock(int(l.file.Fd()))
	}
	if err == nil || errors.Is(err, ErrLocked) {
		return l.file, err
	}
	return nil, fmt.Errorf("%s: %w", lockFileName, err)
}

// openLockFile opens the lock file in the directory dir, and makes it if there is none.
func openLockFile(dir int) (*os.File, error) {
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_NONBLOCK
	fd, err := daemondir.IgnoringEINTR(func() (int, error) { return unix.Openat(dir, lockFileName, flags, 0o600) })
	if err != nil {
		return nil, os.NewSyscallError("open", err)
	}
	f := os.NewFile(uintptr(fd), lockFileName)
	var st, root unix.Stat_t
	err = errors.Join(unix.Fstat(fd, &st), unix.Fstat(dir, &root))
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New("not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	if st.Uid != root.Uid && os.Geteuid() == 0 {
		// The owner of the root must be able to lock it after us. If that cannot be had, he is
		// told when he tries.
		_ = unix.Fchown(fd, int(root.Uid), int(root.Gid))
	}
	return f, nil
}

//go:build !portable

package daemondir

import (
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A Dir is an open daemon dir. Its files are opened relative to its descriptor, so that it
// does not matter if the dir is replaced by a symlink after it was opened.
type Dir struct {
	fd      int
	name    string
	id      FileID
	mounted bool // it is the root of a mount
}

// Open opens the daemon dir root/name. The error is fs.ErrNotExist if there is no directory
// of that name; a symlink does not count.
func Open(root, name string) (*Dir, error) {
	path := filepath.Join(root, name)
	return openDirAt(unix.AT_FDCWD, path, name, path, unix.O_PATH)
}

// openDirAt opens the daemon dir name, which is at in the directory in. path is for errors.
func openDirAt(in int, at, name, path string, flags int) (*Dir, error) {
	fd, err := openat(in, at, flags|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err == unix.ENOTDIR || err == unix.ELOOP || err == unix.ESTALE { // see openError
		err = unix.ENOENT
	}
	if err != nil {
		return nil, &fs.PathError{Op: "opening daemon dir", Path: path, Err: err}
	}
	d := &Dir{fd: fd, name: name}
	st, err := statx(fd, "")
	if err != nil {
		unix.Close(fd)
		return nil, &fs.PathError{Op: "statx", Path: path, Err: err}
	}
	d.id = FileID{Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Ino: st.Ino}
	d.mounted = st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
	return d, nil
}

// statx returns what the kernel knows of path in the directory in, or of in itself. It does
// not ask the server of a network file system, nor follow a symlink, so it does not wait for
// one that does not answer. The attribute that something is mounted there is from Linux 5.8.
func statx(in int, path string) (st unix.Statx_t, err error) {
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT | unix.AT_STATX_DONT_SYNC
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	_, err = IgnoringEINTR(func() (int, error) {
		return 0, unix.Statx(in, path, flags, unix.STATX_TYPE|unix.STATX_INO, &st)
	})
	return st, err
}

// Look says what root/name is, without asking the server of a network file system.
func Look(root, name string) Kind {
	st, err := statx(unix.AT_FDCWD, filepath.Join(root, name))
	switch {
	case err != nil && err != unix.ENOENT:
		return Unknown
	case err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return NoDirectory
	case st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0:
		return Mounted
	}
	return Directory
}

// Fd returns the dir's file descriptor.
func (d *Dir) Fd() int { return d.fd }

// Close closes the directory; files opened from it stay open.
func (d *Dir) Close() error { return unix.Close(d.fd) }

// Marked reports whether there is a mark of [Protect], or that cannot be told.
func (d *Dir) Marked() bool {
	var st unix.Stat_t
	return unix.Fstatat(d.fd, protectMark, &st, unix.AT_SYMLINK_NOFOLLOW) != unix.ENOENT
}

// A Root is an open runtime root, for callers that open many dirs or sidecars in it.
type Root struct {
	fd   int
	path string
}

// OpenRoot opens a runtime root, and follows a symlink.
func OpenRoot(path string) (*Root, error) {
	fd, err := openat(unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, &fs.PathError{Op: "opening root", Path: path, Err: err}
	}
	return &Root{fd: fd, path: path}, nil
}

// Close closes the root; files opened from it stay open.
func (r *Root) Close() error { return unix.Close(r.fd) }

// OpenDir is like the function [Open], for callers that also list the dir or lock it.
func (r *Root) OpenDir(name string) (*Dir, error) {
	// O_NONBLOCK, because it may be a FIFO by now.
	return openDirAt(r.fd, name, name, filepath.Join(r.path, name), unix.O_RDONLY|unix.O_NONBLOCK)
}

// SidecarStamp is like the function [SidecarStamp], on a short path.
func (r *Root) SidecarStamp(name string) Stamp { return r.stamp(name + "/" + SidecarName(name)) }

// PIDStamp is [Root.SidecarStamp] for the pid file.
func (r *Root) PIDStamp(name string) Stamp { return r.stamp(name + "/" + PIDFileName) }

func (r *Root) stamp(path string) Stamp {
	var st unix.Stat_t
	if unix.Fstatat(r.fd, path, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return Stamp{}
	}
	return Stamp{Ino: st.Ino, Size: st.Size, MTime: st.Mtim.Nano()}
}

// OpenSidecar is like [Dir.OpenSidecar] for the daemon dir name, with one system call
// (openat2(2), Linux 5.6) instead of five. It does not check that the file is regular, so it
// is for callers that then take a lease: only regular files can be leased. The error is
// fs.ErrNotExist if the dir or the file is something else, such as a symlink.
func (r *Root) OpenSidecar(name string, mode Mode) (*File, error) {
	fd, err := OpenBeneath(r.fd, name+"/"+SidecarName(name), mode.flags(), unix.RESOLVE_NO_XDEV)
	switch err {
	case nil:
		return &File{fd: fd}, nil
	case unix.ENOSYS, unix.EPERM, unix.EXDEV: // before Linux 5.6, or a seccomp filter; a mount
		return r.openSidecarByDir(name, mode)
	case unix.ENOTDIR, unix.ELOOP: // a file in the dir's place, a symlink
		return nil, unix.ENOENT
	}
	return nil, openError(err)
}

// openSidecarByDir is OpenSidecar without openat2. A file system that is mounted on the dir has
// a second to answer; the error is [ErrNoAnswer].
func (r *Root) openSidecarByDir(name string, mode Mode) (*File, error) {
	if Look(r.path, name) == Mounted {
		if e, _ := Read(r.path, name); e.Problem == ProblemNoAnswer {
			return nil, ErrNoAnswer
		}
	}
	d, err := Open(r.path, name)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.OpenSidecar(mode)
}

// OpenBeneath opens path below the directory dirFD, without following symlinks and without
// leaving the directory (openat2(2), Linux 5.6). resolve adds flags of unix.RESOLVE_*.
func OpenBeneath(dirFD int, path string, flags int, resolve uint64) (int, error) {
	return IgnoringEINTR(func() (int, error) {
		return unix.Openat2(dirFD, path, &unix.OpenHow{
			Flags:   uint64(flags | unix.O_CLOEXEC),
			Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH | resolve,
		})
	})
}

func openat(dirFD int, path string, flags int) (fd int, err error) {
	return IgnoringEINTR(func() (int, error) { return unix.Openat(dirFD, path, flags|unix.O_CLOEXEC, 0) })
}

// A File is an open file of a daemon dir.
type File struct {
	fd int
	st unix.Stat_t // as of opening, or of the last restat
}

// flags returns the flags for opening a file in a daemon dir.
func (m Mode) flags() int {
	// O_NONBLOCK: do not wait for a FIFO's writer, or for the end of a lease, which is
	// EAGAIN instead (fcntl(2), "Leases"). O_NOCTTY: it may be a terminal.
	flags := unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY
	if m == ReadWrite {
		return flags | unix.O_RDWR
	}
	return flags | unix.O_RDONLY
}

// openError translates the errors of opening a file in a daemon dir.
func openError(err error) error {
	switch err {
	case unix.EAGAIN:
		return ErrBusy
	case unix.ELOOP, unix.EISDIR, unix.ENXIO: // a symlink, a directory, a socket or a FIFO
		return errNotRegular
	case unix.ESTALE: // on NFS, another host has removed it
		return unix.ENOENT
	}
	return err
}

func (d *Dir) open(name string, mode Mode) (*File, error) {
	fd, err := openat(d.fd, name, mode.flags())
	if err != nil {
		return nil, openError(err)
	}
	f := &File{fd: fd}
	if err := f.restat(); err != nil {
		f.Close()
		return nil, err
	}
	if f.st.Mode&unix.S_IFMT != unix.S_IFREG {
		f.Close()
		return nil, errNotRegular
	}
	return f, nil
}

// Close closes the file, and with it ends a lease taken on it.
func (f *File) Close() error { return unix.Close(f.fd) }

// Fd returns the file descriptor.
func (f *File) Fd() int { return f.fd }

func (f *File) stamp() Stamp {
	return Stamp{Ino: f.st.Ino, Size: f.st.Size, MTime: f.st.Mtim.Nano()}
}

func (f *File) size() int64 { return f.st.Size }

// restat updates what is known of the file.
func (f *File) restat() error { return unix.Fstat(f.fd, &f.st) }

// readStart reads the file's first bytes with one system call: two might read the halves of
// two different texts.
func (f *File) readStart(buf []byte) (int, error) {
	return IgnoringEINTR(func() (int, error) { return unix.Pread(f.fd, buf, 0) })
}

// Mode returns the permission bits of the file as it was opened, setuid and the like among
// them.
func (f *File) Mode() os.FileMode {
	mode := os.FileMode(f.st.Mode & 0o777)
	for bit, flag := range map[uint32]os.FileMode{unix.S_ISUID: os.ModeSetuid, unix.S_ISGID: os.ModeSetgid, unix.S_ISVTX: os.ModeSticky} {
		if f.st.Mode&bit != 0 {
			mode |= flag
		}
	}
	return mode
}

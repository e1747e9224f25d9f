//go:build !portable

package registry

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"
)

// oPath is O_PATH, the same on every Linux architecture Go knows; package syscall
// does not name it. Such a descriptor resolves names and answers fstat, no more.
const oPath = 0x200000

// A Dir is an open daemon dir. Its files are opened relative to its descriptor, so a
// dir that is swapped for a symlink after it was opened leads nowhere else.
type Dir struct {
	fd   int
	name string
	id   FileID
}

// OpenDir opens the daemon dir root/name. The error is fs.ErrNotExist when no
// directory of that name is there; a symlink is none.
func OpenDir(root, name string) (*Dir, error) {
	path := filepath.Join(root, name)
	return openDirAt(atFDCWD, path, path, oPath)
}

// openDirAt opens name in the directory in, as path.
func openDirAt(in int, name, path string, flags int) (*Dir, error) {
	fd, err := openat(in, name, flags|syscall.O_DIRECTORY|syscall.O_NOFOLLOW)
	if err == syscall.ENOTDIR || err == syscall.ELOOP {
		err = syscall.ENOENT
	}
	if err != nil {
		return nil, &fs.PathError{Op: "opening daemon dir", Path: path, Err: err}
	}
	d := &Dir{fd: fd, name: filepath.Base(path)}
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		syscall.Close(fd)
		return nil, &fs.PathError{Op: "fstat", Path: path, Err: err}
	}
	d.id = FileID{Dev: uint64(st.Dev), Ino: st.Ino}
	return d, nil
}

// Fd returns the dir's file descriptor.
func (d *Dir) Fd() int { return d.fd }

// Close closes the directory; files opened from it stay open.
func (d *Dir) Close() error { return syscall.Close(d.fd) }

// A Root is an open runtime root, for whoever opens many sidecars in it.
type Root struct {
	fd   int
	path string
}

// OpenRoot opens a runtime root; a symlink is followed.
func OpenRoot(path string) (*Root, error) {
	fd, err := openat(atFDCWD, path, oPath|syscall.O_DIRECTORY)
	if err != nil {
		return nil, &fs.PathError{Op: "opening root", Path: path, Err: err}
	}
	return &Root{fd: fd, path: path}, nil
}

// Close closes the root; files opened from it stay open.
func (r *Root) Close() error { return syscall.Close(r.fd) }

// OpenDir is the function [OpenDir] for those who also list the dir or lock it.
func (r *Root) OpenDir(name string) (*Dir, error) {
	// O_NONBLOCK, should it be a FIFO by now.
	return openDirAt(r.fd, name, filepath.Join(r.path, name), syscall.O_RDONLY|syscall.O_NONBLOCK)
}

// OpenSidecar opens the sidecar of the daemon dir name. It is [Dir.OpenSidecar] with one
// system call (openat2(2), Linux 5.6) in place of five, for those who then take a lease:
// that no symlink led to the file is all that is known of it, and only a regular file can
// be leased. To whatever else has its name it is fs.ErrNotExist.
func (r *Root) OpenSidecar(name string, mode Mode) (*File, error) {
	fd, err := openBeneath(r.fd, name+"/"+SidecarName(name), mode.flags())
	switch err {
	case nil:
		return &File{fd: fd}, nil
	case syscall.ENOSYS, syscall.EPERM: // before Linux 5.6, or a seccomp filter
		return r.openSidecarByDir(name, mode)
	case syscall.ENOTDIR, syscall.ELOOP: // a file in the dir's place, a symlink
		return nil, syscall.ENOENT
	}
	return nil, openError(err)
}

func (r *Root) openSidecarByDir(name string, mode Mode) (*File, error) {
	d, err := OpenDir(r.path, name)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.OpenSidecar(mode)
}

// openHow is struct open_how of openat2(2).
type openHow struct{ flags, mode, resolve uint64 }

const (
	sysOpenat2        = 437 // the same on every architecture
	resolveNoSymlinks = 0x04
	resolveBeneath    = 0x08
)

// openBeneath opens path, which leads through no symlink, below the directory dirFD.
func openBeneath(dirFD int, path string, flags int) (int, error) {
	name, err := syscall.BytePtrFromString(path)
	if err != nil {
		return -1, err
	}
	how := openHow{flags: uint64(flags | syscall.O_CLOEXEC), resolve: resolveNoSymlinks | resolveBeneath}
	for {
		fd, _, errno := syscall.Syscall6(sysOpenat2, uintptr(dirFD), uintptr(unsafe.Pointer(name)),
			uintptr(unsafe.Pointer(&how)), unsafe.Sizeof(how), 0, 0)
		switch errno {
		case 0:
			return int(fd), nil
		case syscall.EINTR:
		default:
			return -1, errno
		}
	}
}

const atFDCWD = -0x64

func openat(dirFD int, path string, flags int) (fd int, err error) {
	for {
		fd, err = syscall.Openat(dirFD, path, flags|syscall.O_CLOEXEC, 0)
		if err != syscall.EINTR {
			return fd, err
		}
	}
}

// A File is an open file of a daemon dir.
type File struct {
	fd int
	st syscall.Stat_t // as it was opened, or when content had to look again
}

// flags returns how a file of a daemon dir is opened.
func (m Mode) flags() int {
	// O_NONBLOCK: neither a FIFO without a writer nor a file under a lease may hold us
	// up; the latter answers EAGAIN (fcntl(2), "Leases"). O_NOCTTY, should it be a tty.
	flags := syscall.O_NOFOLLOW | syscall.O_NONBLOCK | syscall.O_NOCTTY
	if m == ReadWrite {
		return flags | syscall.O_RDWR
	}
	return flags | syscall.O_RDONLY
}

// openError says what an error of opening a file of a daemon dir means.
func openError(err error) error {
	switch err {
	case syscall.EAGAIN:
		return ErrBusy
	case syscall.ELOOP, syscall.EISDIR, syscall.ENXIO: // a symlink, a directory, a socket or a FIFO
		return errNotRegular
	}
	return err
}

func (d *Dir) open(name string, mode Mode) (*File, error) {
	fd, err := openat(d.fd, name, mode.flags())
	if err != nil {
		return nil, openError(err)
	}
	f := &File{fd: fd}
	if err := f.look(); err != nil {
		f.Close()
		return nil, err
	}
	if f.st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		f.Close()
		return nil, errNotRegular
	}
	return f, nil
}

// Close closes the file, and with it ends a lease taken on it.
func (f *File) Close() error { return syscall.Close(f.fd) }

// Fd returns the file descriptor.
func (f *File) Fd() int { return f.fd }

func (f *File) stamp() Stamp {
	return Stamp{Ino: f.st.Ino, Size: f.st.Size, MTime: f.st.Mtim.Nano()}
}

func (f *File) size() int64 { return f.st.Size }

// look takes a new look at the file.
func (f *File) look() error { return syscall.Fstat(f.fd, &f.st) }

// readStart reads the file's first bytes, with one system call: the halves of two reads
// may be of two texts.
func (f *File) readStart(buf []byte) (int, error) {
	for {
		n, err := syscall.Pread(f.fd, buf, 0)
		if err != syscall.EINTR {
			return n, err
		}
	}
}

// Mode returns the permission bits of the file as it was opened.
func (f *File) Mode() os.FileMode { return os.FileMode(f.st.Mode & 0o7777) }

//go:build !portable

package fsys

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"strings"

	"runtimegc/registry/daemondir"

	"golang.org/x/sys/unix"
)

// Lock takes the flock(2) of d, the directory name of the root, until unlock or until d is
// closed. The error is [ErrLocked] if somebody else holds one. Where there are no exclusive
// locks on directories (EBADF, on NFS), it takes none, and asks the table of locks: others
// can hold a shared one.
func (r *Root) Lock(d *daemondir.Dir, _ string) (unlock func(), err error) {
	err = Flock(d.Fd())
	if errors.Is(err, unix.EBADF) {
		var locks map[uint64]string
		if locks, err = r.Locks(); err == nil && locks[d.ID().Ino] != "" {
			err = ErrLocked
		}
	}
	return func() {}, err
}

// Remove removes the empty directory name from the root.
func (r *Root) Remove(name string) error {
	if err := unix.Unlinkat(int(r.dir.Fd()), name, unix.AT_REMOVEDIR); err != nil {
		return &fs.PathError{Op: "rmdir", Path: name, Err: err}
	}
	return nil
}

const (
	// maxOpen is how many directories of a tree are open at a time, besides its top: few
	// trees are deeper, and a process may have only so many descriptors.
	maxOpen = 8

	// maxDepth is how many levels a tree may have below its top.
	maxDepth = math.MaxInt
)

// A dir is an open directory of a tree.
type dir struct {
	listing
	fd       int
	borrowed bool // not to be closed
	buf      []byte

	id   daemondir.FileID
	mode uint32 // these two of the top only when its facts have been asked for
	uid  uint32
}

// openTop returns d, which must stay open, read from its start.
func (r *Root) openTop(d *daemondir.Dir, _ string) (*dir, error) {
	top := &dir{fd: d.Fd(), borrowed: true, buf: r.buf, id: d.ID()}
	return top, top.seek(0)
}

func (d *dir) close() {
	if !d.borrowed {
		unix.Close(d.fd)
	}
}

// dirFlags are for opening a directory of a tree.
const dirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW

// open opens the directory name in d.
func (d *dir) open(name string) (*dir, error) {
	fd, err := daemondir.OpenBeneath(d.fd, name, dirFlags, unix.RESOLVE_NO_XDEV)
	switch err {
	case unix.ENOSYS, unix.EPERM: // before Linux 5.6, or a seccomp filter
		return d.openat(name)
	case unix.EXDEV:
		err = ErrMounted
	}
	if err != nil {
		return nil, failed("open", name, err)
	}
	return newDir(fd, d.buf)
}

// parent opens the directory that d is in.
func (d *dir) parent() (*dir, error) { return d.openat("..") }

func (d *dir) openat(name string) (*dir, error) {
	fd, err := daemondir.IgnoringEINTR(func() (int, error) {
		return unix.Openat(d.fd, name, dirFlags|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, failed("open", name, err)
	}
	return newDir(fd, d.buf)
}

func newDir(fd int, buf []byte) (*dir, error) {
	d := &dir{fd: fd, buf: buf}
	if err := d.identify(); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *dir) identify() error {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return failed("stat", ".", err)
	}
	d.id, d.mode, d.uid = daemondir.FileID{Dev: uint64(st.Dev), Ino: st.Ino}, st.Mode, st.Uid
	return nil
}

// read returns the next names of the directory, and none at its end.
func (d *dir) read() ([]dirent, error) {
	for {
		n, err := daemondir.IgnoringEINTR(func() (int, error) { return unix.Getdents(d.fd, d.buf) })
		if err != nil || n == 0 {
			return nil, failed("readdir", ".", err)
		}
		if names := parseDirents(d.buf[:n]); len(names) > 0 { // else it was "." and ".."
			return names, nil
		}
	}
}

// parseDirents returns the names in what getdents64(2) returns: records of
//
//	inode 8, offset of the next 8, length of the record 2, type 1, name, NUL, padding
func parseDirents(buf []byte) []dirent {
	var names []dirent
	for len(buf) > 19 {
		record := buf[:min(int(binary.NativeEndian.Uint16(buf[16:])), len(buf))]
		if len(record) <= 19 {
			break
		}
		buf = buf[len(record):]
		name, _, _ := bytes.Cut(record[19:], []byte{0})
		if s := string(name); s != "." && s != ".." {
			names = append(names, dirent{s, int64(binary.NativeEndian.Uint64(record[8:]))})
		}
	}
	return names
}

// seek makes reading go on at offset, which came with a name; 0 is the start.
func (d *dir) seek(offset int64) error {
	_, err := unix.Seek(d.fd, offset, unix.SEEK_SET)
	return failed("seek", ".", err)
}

// stat describes name.
func (d *dir) stat(name string) (file, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return file{}, failed("stat", name, err)
	}
	f := file{dir: st.Mode&unix.S_IFMT == unix.S_IFDIR}
	if st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink <= 1 {
		f.bytes = st.Size
	}
	return f, nil
}

// remove removes name, an empty directory if dir.
func (d *dir) remove(name string, dir bool) error {
	flags := 0
	if dir {
		flags = unix.AT_REMOVEDIR
	}
	return failed("unlink", name, unix.Unlinkat(d.fd, name, flags))
}

// makeWritable gives the owner of d all permissions. It fails if he has them already, or
// is somebody else.
func (d *dir) makeWritable() error {
	if err := d.identify(); err != nil {
		return err
	}
	if d.mode&unix.S_IRWXU == unix.S_IRWXU {
		return fs.ErrPermission
	}
	return failed("chmod", ".", unix.Fchmod(d.fd, d.mode&0o7777|unix.S_IRWXU))
}

// maxHop is how many levels a path of dots can lead up: a path may be 4,095 bytes long.
const maxHop = 1300

var dots = strings.Repeat("../", maxHop)

// check returns [ErrReplaced] unless the top still has its name in the root and the
// current directory still is below it, as far as it was. That is asked by one path of
// dots, which takes the kernel some 30 ns a level; far down, a check is left out now and
// then, so that a tree of 50,000 levels does not take the square of that.
func (t *trail) check() error {
	if t.unchecked > 0 {
		t.unchecked--
		return nil
	}
	depth := t.depth()
	t.unchecked = depth / 256
	if !t.is(int(t.root.dir.Fd()), t.name) {
		return ErrReplaced
	}
	if depth == 0 {
		return nil
	}
	fd := t.dir().fd
	for ; depth > maxHop; depth -= maxHop {
		up, err := unix.Openat(fd, dots, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if fd != t.dir().fd {
			unix.Close(fd)
		}
		if err != nil {
			return failed("open", "..", err)
		}
		fd = up
	}
	is := t.is(fd, dots[:3*depth-1])
	if fd != t.dir().fd {
		unix.Close(fd)
	}
	if !is {
		return ErrReplaced
	}
	return nil
}

// is says whether path, from the directory fd, leads to the top.
func (t *trail) is(fd int, path string) bool {
	var st unix.Stat_t
	err := unix.Fstatat(fd, path, &st, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && daemondir.FileID{Dev: uint64(st.Dev), Ino: st.Ino} == t.top.id
}

func failed(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

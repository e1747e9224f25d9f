//go:build !portable

package fsys

import (
	"io/fs"

	"runtimegc/registry/daemondir"

	"golang.org/x/sys/unix"
)

// Lock takes the flock(2) of d, the directory name of the root, until unlock or until d is
// closed. The error is [ErrLocked] if somebody else holds one.
func (r *Root) Lock(d *daemondir.Dir, _ string) (unlock func(), err error) {
	return func() {}, Flock(d.Fd())
}

// A Tree is an open directory that is being emptied. Each name is resolved in it and
// nowhere else: no symlink is followed, and what is mounted is not entered.
type Tree struct {
	fd    int
	owned bool // close it

	buf     []byte
	batches int // since the start of the directory
}

// OpenTree opens d, which stands in the root as name, whatever has the name by now. It is
// closed with d.
func (r *Root) OpenTree(d *daemondir.Dir, _ string) (*Tree, error) {
	if r.buf == nil {
		r.buf = make([]byte, treeBatch)
	}
	return &Tree{fd: d.Fd(), buf: r.buf}, nil
}

// Close closes the directory.
func (t *Tree) Close() {
	if t.owned {
		unix.Close(t.fd)
	}
}

// treeReadsOn says that next goes on where it was, past what could not be removed.
const treeReadsOn = true

// next returns the next names of the directory, and none at its end.
func (t *Tree) next() ([]string, error) {
	for {
		n, err := daemondir.IgnoringEINTR(func() (int, error) { return unix.ReadDirent(t.fd, t.buf) })
		if err != nil || n == 0 {
			return nil, t.failed("readdir", ".", err)
		}
		t.batches++
		_, _, names := unix.ParseDirent(t.buf[:n], -1, nil)
		if len(names) > 0 { // else it was "." and ".."
			return names, nil
		}
	}
}

// again begins at the start of the directory, if names may have been passed over: what a
// read returns after a removal is up to the file system (readdir(3)), unless it had
// returned all there is.
func (t *Tree) again() bool {
	if t.batches <= 1 {
		return false
	}
	t.batches = 0
	_, err := unix.Seek(t.fd, 0, unix.SEEK_SET)
	return err == nil
}

// below opens the directory name in t.
func (t *Tree) below(name string) (*Tree, error) {
	fd, err := daemondir.OpenBeneath(t.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, unix.RESOLVE_NO_XDEV)
	if err == unix.ENOSYS || err == unix.EPERM { // before Linux 5.6, or a seccomp filter
		fd, err = unix.Openat(t.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, t.failed("open", name, err)
	}
	return &Tree{fd: fd, owned: true, buf: make([]byte, treeBatch)}, nil
}

// stat describes name.
func (t *Tree) stat(name string) (file, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(t.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return file{}, t.failed("stat", name, err)
	}
	f := file{dir: st.Mode&unix.S_IFMT == unix.S_IFDIR}
	if st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink <= 1 {
		f.bytes = st.Size
	}
	return f, nil
}

// remove removes name, an empty directory if dir.
func (t *Tree) remove(name string, dir bool) error {
	flags := 0
	if dir {
		flags = unix.AT_REMOVEDIR
	}
	return t.failed("unlink", name, unix.Unlinkat(t.fd, name, flags))
}

func (t *Tree) failed(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// Remove removes the empty directory name from the root.
func (r *Root) Remove(name string) error {
	if err := unix.Unlinkat(int(r.dir.Fd()), name, unix.AT_REMOVEDIR); err != nil {
		return &fs.PathError{Op: "rmdir", Path: name, Err: err}
	}
	return nil
}

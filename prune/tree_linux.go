//go:build !portable

package prune

import (
	"io/fs"

	"runtimegc/registry/daemondir"

	"golang.org/x/sys/unix"
)

// lock takes the flock(2) of the daemon dir d. It is given back when d is closed.
func (m *remover) lock(d *daemondir.Dir, _ string) (unlock func(), err error) {
	return func() {}, flock(d.Fd())
}

// A tree is an open directory that is being emptied. Each name is resolved in it and
// nowhere else: no symlink is followed, and what is mounted is not entered.
type tree struct {
	fd    int
	owned bool // close it

	buf     []byte
	batches int // since the start of the directory
}

// openTree opens what is hidden under that name: the dir d, which was judged, whatever
// has the name by now.
func (m *remover) openTree(d *daemondir.Dir, _ string) (*tree, error) {
	if m.buf == nil {
		m.buf = make([]byte, removeBatch)
	}
	return &tree{fd: d.Fd(), buf: m.buf}, nil
}

func (t *tree) close() {
	if t.owned {
		unix.Close(t.fd)
	}
}

// treeReadsOn says that next goes on where it was, past what could not be removed.
const treeReadsOn = true

// next returns the next names of the directory, and none at its end.
func (t *tree) next() ([]string, error) {
	for {
		n, err := unix.ReadDirent(t.fd, t.buf)
		if err == unix.EINTR {
			continue
		}
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
func (t *tree) again() bool {
	if t.batches <= 1 {
		return false
	}
	t.batches = 0
	_, err := unix.Seek(t.fd, 0, unix.SEEK_SET)
	return err == nil
}

// below opens the directory name in t.
func (t *tree) below(name string) (*tree, error) {
	fd, err := daemondir.OpenBeneath(t.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, unix.RESOLVE_NO_XDEV)
	if err == unix.ENOSYS || err == unix.EPERM { // before Linux 5.6, or a seccomp filter
		fd, err = unix.Openat(t.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, t.failed("open", name, err)
	}
	return &tree{fd: fd, owned: true, buf: make([]byte, removeBatch)}, nil
}

// stat describes name.
func (t *tree) stat(name string) (found, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(t.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return found{}, t.failed("stat", name, err)
	}
	f := found{dir: st.Mode&unix.S_IFMT == unix.S_IFDIR}
	if st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink <= 1 {
		f.bytes = st.Size
	}
	return f, nil
}

// remove removes name, an empty directory if dir.
func (t *tree) remove(name string, dir bool) error {
	flags := 0
	if dir {
		flags = unix.AT_REMOVEDIR
	}
	return t.failed("unlink", name, unix.Unlinkat(t.fd, name, flags))
}

func (t *tree) failed(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// removeDir removes the empty dir name from the root.
func (m *remover) removeDir(name string) error {
	if err := unix.Unlinkat(int(m.dir.Fd()), name, unix.AT_REMOVEDIR); err != nil {
		return &fs.PathError{Op: "rmdir", Path: name, Err: err}
	}
	return nil
}

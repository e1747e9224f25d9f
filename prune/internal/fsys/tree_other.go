//go:build !linux || portable

package fsys

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"

	"runtimegc/registry/daemondir"
)

// Lock takes the flock(2) of d, the directory name of the root, where there is one. The
// error is [ErrLocked] if somebody else holds it.
func (r *Root) Lock(d *daemondir.Dir, name string) (unlock func(), err error) {
	dir, err := r.root.OpenFile(name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, err
	}
	id, err := daemondir.IdentifyFile(dir)
	if err == nil && id != d.ID() {
		err = &fs.PathError{Op: "locking", Path: name, Err: fs.ErrNotExist} // it was moved away
	}
	if err == nil {
		err = Flock(int(dir.Fd()))
	}
	if err != nil || runtime.GOOS == "windows" { // no locks there, and what is open is in the way
		dir.Close()
		return func() {}, err
	}
	return func() { dir.Close() }, nil
}

// Remove removes the empty directory name from the root.
func (r *Root) Remove(name string) error { return daemondir.RemoveIn(r.root, name) }

const (
	// maxDepth is how many levels a tree may have below its top: an os.Root has no way up,
	// so each of them takes a descriptor, and another one to be read. A survey refuses
	// what is deeper.
	maxDepth = 200
	maxOpen  = maxDepth
)

// A dir is an open directory of a tree.
type dir struct {
	listing
	root   *os.Root
	reader *os.File // nil: at the start

	in   *dir // nil: it is the top
	name string
	id   daemondir.FileID
}

// openTop opens the directory name of the root, which must be d ([ErrReplaced]).
func (r *Root) openTop(d *daemondir.Dir, name string) (*dir, error) {
	top, err := newDir(r.root, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ErrReplaced
	case err != nil:
		return nil, err
	case top.id != d.ID():
		top.close()
		return nil, ErrReplaced
	}
	return top, nil
}

func newDir(in *os.Root, name string) (*dir, error) {
	root, err := in.OpenRoot(name + "/.") // should it be a FIFO by now, that does not wait
	if err != nil {
		return nil, err
	}
	id, err := daemondir.IdentifyIn(root, ".")
	if err != nil {
		root.Close()
		return nil, err
	}
	return &dir{root: root, name: name, id: id}, nil
}

func (d *dir) close() {
	if d.reader != nil {
		d.reader.Close()
	}
	d.root.Close()
}

// open opens the directory name in d.
func (d *dir) open(name string) (*dir, error) {
	// An os.Root follows symlinks that stay in it.
	info, err := d.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	id, err := daemondir.IdentifyIn(d.root, name)
	if err != nil {
		return nil, err
	}
	below, err := newDir(d.root, name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() || below.id != id {
		below.close()
		return nil, ErrReplaced
	}
	below.in = d
	return below, nil
}

// parent is for directories that were closed: none are.
func (d *dir) parent() (*dir, error) { return nil, errors.ErrUnsupported }

// read returns the next names of the directory, and none at its end.
func (d *dir) read() (names []dirent, err error) {
	if d.reader == nil {
		if d.reader, err = d.root.Open("."); err != nil {
			return nil, err
		}
	}
	found, err := d.reader.Readdirnames(treeBatch / 32)
	for _, name := range found {
		names = append(names, dirent{name: name})
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return names, err
}

// seek makes reading begin anew; there are no other offsets.
func (d *dir) seek(int64) error {
	err := d.reader.Close()
	d.reader = nil
	return err
}

// stat describes name.
func (d *dir) stat(name string) (file, error) {
	info, err := d.root.Lstat(name)
	if err != nil {
		return file{}, err
	}
	f := file{dir: info.IsDir()}
	if info.Mode().IsRegular() && linksIn(d.root, name, info) <= 1 {
		f.bytes = info.Size()
	}
	return f, nil
}

// remove removes name, an empty directory if dir.
func (d *dir) remove(name string, _ bool) error { return daemondir.RemoveIn(d.root, name) }

// makeWritable gives the owner of d all permissions. It fails if he has them already, or
// is somebody else.
func (d *dir) makeWritable() error {
	info, err := d.root.Stat(".")
	if err != nil {
		return err
	}
	if info.Mode()&0o700 == 0o700 {
		return fs.ErrPermission
	}
	return d.root.Chmod(".", info.Mode().Perm()|0o700)
}

// check returns [ErrReplaced] unless the top still has its name in the root, and each
// directory on the way to the current one its in the one above.
func (t *trail) check() error {
	for d := t.dir(); d != nil; d = d.in {
		in := t.root.root
		if d.in != nil {
			in = d.in.root
		}
		// A symlink has another identity than a directory.
		if id, err := daemondir.IdentifyIn(in, d.name); err != nil || id != d.id {
			return ErrReplaced
		}
	}
	return nil
}

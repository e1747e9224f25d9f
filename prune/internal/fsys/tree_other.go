//go:build !linux || portable

package fsys

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"runtimegc/registry/daemondir"
)

// Lock takes the flock(2) of d, the directory name of the root, where there is one. The
// error is [ErrLocked] if somebody else holds it.
func (r *Root) Lock(d *daemondir.Dir, name string) (unlock func(), err error) {
	dir, err := r.root.OpenFile(name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, err
	}
	info, err := dir.Stat()
	if err == nil && daemondir.Identify(info) != d.ID() {
		err = &fs.PathError{Op: "locking", Path: name, Err: fs.ErrNotExist} // it was moved away
	}
	if err == nil {
		err = Flock(int(dir.Fd()))
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return func() { dir.Close() }, nil
}

// A Tree is an open directory that is being emptied. Each name is resolved in it and
// nowhere else.
type Tree struct{ root *os.Root }

// OpenTree opens the directory name of the root, which must be d ([ErrReplaced]).
func (r *Root) OpenTree(d *daemondir.Dir, name string) (*Tree, error) {
	root, err := r.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	info, err := root.Stat(".")
	if err == nil && daemondir.Identify(info) != d.ID() {
		err = ErrReplaced
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return &Tree{root}, nil
}

// Close closes the directory.
func (t *Tree) Close() { t.root.Close() }

// treeReadsOn says that next begins anew each time: after a removal a directory may not
// be read on (readdir(3)).
const treeReadsOn = false

// next returns some of the names that are left, and none when none is.
func (t *Tree) next() ([]string, error) {
	f, err := t.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(treeBatch / 32)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return names, err
}

// again is for those who read on where they were.
func (t *Tree) again() bool { return false }

// below opens the directory name in t.
func (t *Tree) below(name string) (*Tree, error) {
	root, err := t.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return &Tree{root}, nil
}

// stat describes name.
func (t *Tree) stat(name string) (file, error) {
	info, err := t.root.Lstat(name)
	if err != nil {
		return file{}, err
	}
	f := file{dir: info.IsDir()}
	if info.Mode().IsRegular() && links(info) <= 1 {
		f.bytes = info.Size()
	}
	return f, nil
}

// remove removes name, an empty directory if dir.
func (t *Tree) remove(name string, _ bool) error { return t.root.Remove(name) }

// Remove removes the empty directory name from the root.
func (r *Root) Remove(name string) error { return r.root.Remove(name) }

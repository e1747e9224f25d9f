//go:build !linux || portable

package prune

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"runtimegc/registry/daemondir"
)

// lock takes the flock(2) of the daemon dir d, name in the root, where there is one.
func (m *remover) lock(d *daemondir.Dir, name string) (unlock func(), err error) {
	dir, err := m.root.OpenFile(name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, err
	}
	info, err := dir.Stat()
	if err == nil && daemondir.Identify(info) != d.ID() {
		err = &fs.PathError{Op: "locking", Path: name, Err: fs.ErrNotExist} // it was moved away
	}
	if err == nil {
		err = flock(int(dir.Fd()))
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return func() { dir.Close() }, nil
}

// A tree is an open directory that is being emptied. Each name is resolved in it and
// nowhere else.
type tree struct{ root *os.Root }

// openTree opens the quarantined dir hidden, which must be d.
func (m *remover) openTree(d *daemondir.Dir, hidden string) (*tree, error) {
	root, err := m.root.OpenRoot(hidden)
	if err != nil {
		return nil, err
	}
	info, err := root.Stat(".")
	if err == nil && daemondir.Identify(info) != d.ID() {
		err = errReplaced
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return &tree{root}, nil
}

func (t *tree) close() { t.root.Close() }

// treeReadsOn says that next begins anew each time: after a removal a directory may not
// be read on (readdir(3)).
const treeReadsOn = false

// next returns some of the names that are left, and none when none is.
func (t *tree) next() ([]string, error) {
	f, err := t.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(removeBatch / 32)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return names, err
}

// again is for those who read on where they were.
func (t *tree) again() bool { return false }

// below opens the directory name in t.
func (t *tree) below(name string) (*tree, error) {
	root, err := t.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return &tree{root}, nil
}

// stat describes name.
func (t *tree) stat(name string) (found, error) {
	info, err := t.root.Lstat(name)
	if err != nil {
		return found{}, err
	}
	f := found{dir: info.IsDir()}
	if info.Mode().IsRegular() && links(info) <= 1 {
		f.bytes = info.Size()
	}
	return f, nil
}

// remove removes name, an empty directory if dir.
func (t *tree) remove(name string, _ bool) error { return t.root.Remove(name) }

// removeDir removes the empty dir name from the root.
func (m *remover) removeDir(name string) error { return m.root.Remove(name) }

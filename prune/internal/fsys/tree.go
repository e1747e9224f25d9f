package fsys

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"runtimegc/registry/daemondir"
)

// treeBatch is how much of a directory is read at a time, in bytes: some 1,000 names. What
// emptying a tree needs in memory does not depend on how many files it has.
const treeBatch = 32 << 10

// file is what is to be known of a file before it is removed.
type file struct {
	dir   bool
	bytes int64 // that its removal frees: a trampoline is a link to a binary that all share
}

// Freed is what was removed.
type Freed struct {
	Files int   // files and directories
	Bytes int64 // of files whose last link it was
}

// A Tree is a directory of a root that is being emptied. Each name is resolved in the
// directory it was read from and nowhere else: no symlink is followed, and what is mounted
// is not entered. Before each removal it is checked that the tree still has its name in the
// root, and that the current directory is still in the tree: whoever moves it away in the
// meantime keeps what is left.
type Tree struct{ *trail }

// OpenTree opens d, which stands in the root as name, to be emptied. d must stay open as
// long as the tree.
func (r *Root) OpenTree(d *daemondir.Dir, name string) (*Tree, error) {
	t, err := r.openTrail(d, name)
	if err != nil {
		return nil, err
	}
	return &Tree{t}, nil
}

// Close closes what the tree has open.
func (t *Tree) Close() { t.close() }

// Empty removes all that is in t but for the name spare, and counts it. It ends with the
// first error, which is [ErrReplaced] if the tree was moved. removed, if not nil, is called
// after each name, that of a directory after those in it.
func (t *Tree) Empty(spare string, freed *Freed, removed func(name string)) error {
	for {
		d := t.dir()
		e, ok, err := d.peek()
		if notIfGone(err) != nil {
			return err
		}
		if !ok {
			if t.depth() == 0 {
				return nil
			}
			// Next in the directory above is this one, or what stands there by now.
			if _, err := t.leave(); err != nil {
				return err
			}
			continue
		}
		if t.depth() == 0 && e.name == spare {
			d.drop()
			continue
		}
		entered, err := t.removeOrEnter(e.name, freed)
		if err != nil {
			return err
		}
		if entered {
			continue
		}
		d.drop()
		d.removed++
		if removed != nil {
			removed(e.name)
		}
	}
}

// IsFile reports whether name in the top of t is not a directory.
func (t *Tree) IsFile(name string) bool {
	f, err := t.top.stat(name)
	return err == nil && !f.dir
}

// Remove removes the file or empty directory name from the top of t, and counts it. What
// is gone is no error.
func (t *Tree) Remove(name string, freed *Freed) error {
	entered, err := t.removeOrEnter(name, freed)
	if entered {
		return &fs.PathError{Op: "unlink", Path: name, Err: errNotEmpty}
	}
	return err
}

// ErrStillOpen says that a file was removed, but is open in a process of this host: NFS and
// FUSE keep it under another name until it is closed, and do not remove its directory.
var ErrStillOpen = errors.New("a removed file in it is still open")

// stillOpen reports whether name is one that they give to such a file.
func stillOpen(name string) bool {
	return strings.HasPrefix(name, ".nfs") || strings.HasPrefix(name, ".fuse_hidden")
}

var errNotEmpty = errors.New("somebody puts files there")

// removeOrEnter removes name from the current directory, or enters it if it is a directory
// that is not empty. What is gone is no error.
func (t *Tree) removeOrEnter(name string, freed *Freed) (entered bool, err error) {
	if err := t.check(); err != nil {
		return false, err
	}
	d := t.dir()
	f, err := d.stat(name)
	if err == nil {
		err = d.remove(name, f.dir)
	}
	if errors.Is(err, fs.ErrPermission) && d.makeWritable() == nil {
		if f, err = d.stat(name); err == nil {
			err = d.remove(name, f.dir)
		}
	}
	switch {
	case stillOpen(name) && errors.Is(err, syscall.EBUSY):
		return false, &fs.PathError{Op: "unlink", Path: name, Err: ErrStillOpen}
	case err == nil:
		freed.Files++
		freed.Bytes += f.bytes
	case f.dir && errors.Is(err, fs.ErrExist): // it is not empty
		if t.wasEntered(name) {
			return false, &fs.PathError{Op: "rmdir", Path: name, Err: errNotEmpty}
		}
		if err := t.enter(name); err != nil {
			return false, notIfGone(err)
		}
		return true, nil
	}
	return false, notIfGone(err)
}

func notIfGone(err error) error {
	if Gone(err) {
		return nil
	}
	return err
}

//go:build (!linux && !windows) || portable

package daemondir

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// A Dir is an open daemon dir. Its files are opened through an os.Root, which refuses
// symlinks that lead out of it.
type Dir struct {
	root    *os.Root
	name    string
	id      FileID
	mounted bool // never: mount points are not known here
}

// Open opens the daemon dir root/name. The error is fs.ErrNotExist if there is no directory
// of that name; a symlink does not count.
func Open(root, name string) (*Dir, error) {
	path := filepath.Join(root, name)
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &fs.PathError{Op: "opening daemon dir", Path: path, Err: fs.ErrNotExist}
	}
	parent, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	if opening != nil {
		opening()
	}
	// Should it be a FIFO by now, opening it as a path to something else does not wait for a
	// writer. (os.OpenRoot does.)
	r, err := parent.OpenRoot(name + "/.")
	if err != nil {
		if Look(root, name) == NoDirectory {
			err = &fs.PathError{Op: "opening daemon dir", Path: path, Err: fs.ErrNotExist}
		}
		return nil, err
	}
	opened, err := r.Stat(".")
	if err == nil && !os.SameFile(info, opened) {
		err = &fs.PathError{Op: "opening daemon dir", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return &Dir{root: r, name: name, id: identify(info)}, nil
}

// Look says what root/name is. Mount points are not told from other directories.
func Look(root, name string) Kind {
	switch info, err := os.Lstat(filepath.Join(root, name)); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return Unknown
	case err != nil || !info.IsDir():
		return NoDirectory
	}
	return Directory
}

// Close closes the directory; files opened from it stay open.
func (d *Dir) Close() error { return d.root.Close() }

// Marked reports whether there is a mark of [Protect], or that cannot be told.
func (d *Dir) Marked() bool {
	_, err := d.root.Lstat(protectMark)
	return !errors.Is(err, fs.ErrNotExist)
}

// A File is an open file of a daemon dir.
type File struct {
	f    *os.File
	info fs.FileInfo // as of opening, or of the last restat
}

// opening is called, if not nil, between the look at a file or directory and its opening: tests
// replace it there.
var opening func()

func (d *Dir) open(name string, mode Mode) (*File, error) {
	// First, because merely opening a device may have effects.
	info, err := d.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	flag := os.O_RDONLY
	if mode == ReadWrite {
		flag = os.O_RDWR
	}
	if opening != nil {
		opening()
	}
	// Should it be a FIFO by now, opening it must not wait for a writer.
	f, err := d.root.OpenFile(name, flag|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.EAGAIN) {
		return nil, ErrBusy // on Linux, another collector has a lease on it
	}
	if err != nil {
		return nil, err
	}
	opened, err := f.Stat()
	if err == nil && !os.SameFile(info, opened) {
		err = errNotRegular
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &File{f: f, info: opened}, nil
}

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

func (f *File) stamp() Stamp {
	return stampOf(f.info, identify(f.info))
}

func (f *File) size() int64 { return f.info.Size() }

// restat updates what is known of the file.
func (f *File) restat() error {
	info, err := f.f.Stat()
	if err == nil {
		f.info = info
	}
	return err
}

func (f *File) readStart(buf []byte) (int, error) {
	n, err := f.f.ReadAt(buf, 0)
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// Mode returns the permission bits of the file as it was opened, setuid and the like among
// them.
func (f *File) Mode() os.FileMode {
	return f.info.Mode() & (os.ModePerm | os.ModeSetuid | os.ModeSetgid | os.ModeSticky)
}

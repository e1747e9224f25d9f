package daemondir

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Whoever has a file or directory open on Windows says what others may do meanwhile, and NTFS
// renames no directory in which anything is open. So a dir and its files are opened for as
// long as a read takes, and share everything but, for a refresh, writing.

// A Dir is an open daemon dir. Its files are opened relative to its handle.
type Dir struct {
	f       *os.File
	name    string
	id      FileID
	mounted bool // never: a mount point is a reparse point, and so no daemon dir
}

// Open opens the daemon dir root/name. The error is fs.ErrNotExist if there is no directory
// of that name; a symlink or a junction does not count. It is [ErrBusy] if another process
// has the dir open and shares it with nobody.
func Open(root, name string) (*Dir, error) {
	path := filepath.Join(root, name)
	f, err := openPath(path, windows.FILE_GENERIC_READ|windows.FILE_TRAVERSE, windows.FILE_FLAG_OPEN_REPARSE_POINT)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Type() != fs.ModeDir {
		err = &fs.PathError{Op: "opening daemon dir", Path: path, Err: fs.ErrNotExist}
	}
	var id FileID
	if err == nil {
		id, err = IdentifyFile(f)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Dir{f: f, name: name, id: id}, nil
}

// Look says what root/name is.
func Look(root, name string) Kind {
	switch info, err := os.Lstat(filepath.Join(root, name)); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return Unknown
	case err != nil || info.Mode().Type() != fs.ModeDir:
		return NoDirectory
	}
	return Directory
}

// Close closes the directory; files opened from it stay open.
func (d *Dir) Close() error { return d.f.Close() }

// Marked reports whether there is a mark of [Protect], or that cannot be told.
func (d *Dir) Marked() bool {
	f, err := d.openFile(protectMark, windows.FILE_READ_ATTRIBUTES, shareAll)
	if err == nil {
		f.Close()
	}
	return !errors.Is(err, fs.ErrNotExist)
}

// A File is an open file of a daemon dir.
type File struct {
	f    *os.File
	info fs.FileInfo // as of opening, or of the last restat
	id   FileID
	mode Mode
}

func (d *Dir) open(name string, mode Mode) (*File, error) {
	access, share := uint32(windows.FILE_GENERIC_READ), uint32(shareAll)
	if mode == ReadWrite {
		// See OpenedAlone.
		access |= windows.FILE_GENERIC_WRITE
		share &^= windows.FILE_SHARE_WRITE
	}
	opened, err := d.openFile(name, access, share)
	if err != nil {
		return nil, err
	}
	f := &File{f: opened, mode: mode}
	err = f.restat()
	if err == nil && !f.info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err == nil {
		f.id, err = IdentifyFile(opened)
	}
	if err != nil {
		opened.Close()
		return nil, err
	}
	return f, nil
}

// openFile opens name in d; a symlink is not followed.
func (d *Dir) openFile(name string, access, share uint32) (*os.File, error) {
	name16, err := windows.NewNTUnicodeString(name)
	if err != nil {
		return nil, err
	}
	in := windows.OBJECT_ATTRIBUTES{
		RootDirectory: windows.Handle(d.f.Fd()),
		ObjectName:    name16,
		Attributes:    windows.OBJ_CASE_INSENSITIVE,
	}
	in.Length = uint32(unsafe.Sizeof(in))
	var h windows.Handle
	err = windows.NtCreateFile(&h, access|windows.SYNCHRONIZE, &in, &windows.IO_STATUS_BLOCK{}, nil,
		windows.FILE_ATTRIBUTE_NORMAL, share, windows.FILE_OPEN,
		windows.FILE_SYNCHRONOUS_IO_NONALERT|windows.FILE_OPEN_FOR_BACKUP_INTENT|windows.FILE_OPEN_REPARSE_POINT, 0, 0)
	runtime.KeepAlive(d)
	if status, ok := err.(windows.NTStatus); ok {
		err = status.Errno()
		if status == windows.STATUS_DELETE_PENDING {
			err = windows.ERROR_DELETE_PENDING // Errno says that access is denied
		}
	}
	if err != nil {
		return nil, openError(err)
	}
	return os.NewFile(uintptr(h), filepath.Join(d.f.Name(), name)), nil
}

// openError translates the errors of opening a file or directory.
func openError(err error) error {
	if Busy(err) {
		return ErrBusy
	}
	return err
}

// Busy reports whether err says that another process has a file or directory open, or a part
// of it locked, or that it is gone when its last user closes it. A moment later it may be
// otherwise (System Error Codes 32, 33 and 303).
func Busy(err error) bool {
	return errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_LOCK_VIOLATION) ||
		errors.Is(err, windows.ERROR_DELETE_PENDING) || errors.Is(err, ErrBusy)
}

// OpenedAlone reports whether the file was opened for writing: until it is closed, nobody else
// has it open for that.
func (f *File) OpenedAlone() bool { return f.mode == ReadWrite }

// Close closes the file.
func (f *File) Close() error { return f.f.Close() }

func (f *File) stamp() Stamp { return stampOf(f.info, f.id) }

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
	switch {
	case err == io.EOF:
		err = nil
	case Busy(err):
		err = ErrBusy
	}
	return n, err
}

// WriteAt writes all of p at offset.
func (f *File) WriteAt(p []byte, offset int64) (int, error) { return f.f.WriteAt(p, offset) }

// Truncate cuts the file off at size.
func (f *File) Truncate(size int64) error { return f.f.Truncate(size) }

// Mode returns the permission bits of the file as it was opened: whether it is read-only.
func (f *File) Mode() os.FileMode { return f.info.Mode().Perm() }

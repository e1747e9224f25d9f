package fsys

import (
	"errors"
	"io"
	"os"

	"runtimegc/registry/daemondir"

	"golang.org/x/sys/windows"
)

// Windows has no leases that this program uses. But a file that is opened for writing, and does
// not share that, is written by nobody else until it is closed, and nobody has it open for
// writing: CreateFile refuses the one or the other. That is all that a refresh takes. A spawner
// who comes to the sidecar meanwhile, some ten microseconds, is refused with a sharing
// violation.

// HasLeases says that a lease shows whether anybody has a file open.
const HasLeases = false

var (
	ErrOpenElsewhere = errors.New("the sidecar is open elsewhere")
	ErrNoLeases      = errors.New("the file is not open for writing")
)

// TakeLease returns nil for a file that is open for writing, until it is closed, and else
// ErrNoLeases.
func TakeLease(f *daemondir.File) error {
	if f.OpenedAlone() {
		return nil
	}
	return ErrNoLeases
}

// LeaseHeld reports whether nobody else can write f.
func LeaseHeld(f *daemondir.File) bool { return f.OpenedAlone() }

// BrokenByReader returns false: a lease is for writing only.
func BrokenByReader(*daemondir.File) bool { return false }

// Patch writes tail at offset in f, whose content is text. If it cannot write all of it (a
// full disk), it restores the old bytes.
func Patch(f *daemondir.File, text, tail []byte, offset int) error {
	n, err := f.WriteAt(tail, int64(offset))
	if err == nil && n < len(tail) {
		err = io.ErrShortWrite
	}
	if err != nil && n > 0 {
		_, back := f.WriteAt(text[offset:], int64(offset))
		err = errors.Join(err, back, f.Truncate(int64(len(text))))
	}
	return err
}

// OpenElsewhere reports whether a process has the file at path open, or that it is being
// removed. It opens the file for a moment, and whoever wants to open it just then is refused;
// only so does the system say whether there is anybody. A file that has more than one link may
// be open under another name, in another directory.
func OpenElsewhere(path string) (bool, error) {
	const openLink = windows.FILE_FLAG_OPEN_REPARSE_POINT
	path16, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return false, err
	}
	const share = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE
	h, err := windows.CreateFile(path16, windows.FILE_READ_ATTRIBUTES, share, nil, windows.OPEN_EXISTING, openLink, 0)
	if err == nil {
		var d windows.ByHandleFileInformation
		err = windows.GetFileInformationByHandle(h, &d)
		windows.CloseHandle(h)
		if err == nil && d.NumberOfLinks > 1 {
			return false, nil
		}
	}
	if err == nil {
		h, err = windows.CreateFile(path16, windows.GENERIC_READ, 0, nil, windows.OPEN_EXISTING, openLink, 0)
	}
	switch {
	case err == nil:
		windows.CloseHandle(h)
		return false, nil
	case daemondir.Busy(err):
		return true, nil
	case Gone(err):
		return false, nil
	}
	return false, &os.PathError{Op: "open", Path: path, Err: err}
}

// Busy reports whether err says that another process has open, or locked, what an operation
// was for. A moment later it may succeed.
func Busy(err error) bool { return daemondir.Busy(err) || errors.Is(err, errOpenBelow) }

// errOpenBelow says that a directory is not renamed because something in it is open.
var errOpenBelow = errors.New("a process has it, or something in it, open")

package daemondir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// shareAll lets others read, write, rename and delete what we have open.
const shareAll = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE

// openPath opens a file or directory, and shares everything; [os.Open] does not share deletion,
// so meanwhile nobody could rename or remove it.
func openPath(path string, access, flags uint32) (*os.File, error) {
	path16, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	h, err := windows.CreateFile(path16, access, shareAll, nil, windows.OPEN_EXISTING,
		windows.FILE_FLAG_BACKUP_SEMANTICS|flags, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: openError(err)}
	}
	return os.NewFile(uintptr(h), path), nil
}

// OpenList opens a directory to be listed. It shares everything.
func OpenList(path string) (*os.File, error) { return openPath(path, windows.FILE_GENERIC_READ, 0) }

// OpenShared is [os.OpenRoot] of a directory that others may rename or remove meanwhile: a
// directory that is opened in an os.Root shares everything, one that is opened by its path
// does not share deletion.
func OpenShared(path string) (*os.Root, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	above := filepath.Dir(real)
	if above == real { // a drive
		return os.OpenRoot(path)
	}
	r, err := os.OpenRoot(above)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.OpenRoot(filepath.Base(real))
}

// RemoveIn removes the file or empty directory name from r, also if it is read-only.
func RemoveIn(r *os.Root, name string) error {
	err := r.Remove(name)
	switch {
	case errors.Is(err, windows.ERROR_INVALID_FUNCTION):
		return removeByPath(r, name)
	case errors.Is(err, fs.ErrPermission):
		return removeOnClose(r, name, err)
	}
	return err
}

// removeByPath is RemoveIn for Wine 8, which does not have FileDispositionInformationEx, and
// says so by an error after which an os.Root does not try what older systems have. So the path
// must do, if it leads to r.
func removeByPath(r *os.Root, name string) error {
	here, errHere := IdentifyIn(r, ".")
	there, errThere := IdentifyPath(r.Name())
	if err := errors.Join(errHere, errThere); err != nil {
		return err
	}
	if here != there {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	path := filepath.Join(r.Name(), name)
	err := os.Remove(path)
	if errors.Is(err, fs.ErrPermission) && r.Chmod(name, 0o700) == nil {
		err = os.Remove(path) // it was a read-only directory
	}
	if errors.Is(err, fs.ErrPermission) {
		return removeOnClose(r, name, err)
	}
	return err
}

// removeOnClose removes a file, name, that was refused with err. A trampoline is a link to a
// binary that runs elsewhere as well: of a program that runs, Windows removes no link if asked
// to, but it removes one of several that is opened to be removed when it is closed.
func removeOnClose(r *os.Root, name string, err error) error {
	if info, statErr := r.Lstat(name); statErr != nil || !info.Mode().IsRegular() {
		return err
	}
	f, openErr := r.OpenFile(name, os.O_RDONLY|windows.FILE_FLAG_DELETE_ON_CLOSE|windows.FILE_FLAG_OPEN_REPARSE_POINT, 0)
	if openErr != nil {
		return err
	}
	f.Close()
	if _, statErr := r.Lstat(name); !errors.Is(statErr, fs.ErrNotExist) {
		return err
	}
	return nil
}

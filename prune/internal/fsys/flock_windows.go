package fsys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/windows"

	"runtimegc/registry/daemondir"
)

const nonblock = 0 // there are no FIFOs in directories

// ErrLocked says that another process holds the lock on a root. There is none on a daemon dir.
var ErrLocked = errors.New("locked")

// Flock does nothing: Windows has no locks on directories.
func Flock(int) error { return nil }

// A RootLock makes one collector of a root. Windows has no locks on directories, and a handle
// on the root, or on a file in it, would keep others from renaming or removing it. So the lock
// is a mutex that nobody ever owns or waits for. It exists as long as its maker has it open,
// and the system closes it however that process ends.
//
// The mutex is named by what the root is, not by its path: one directory has many paths (case,
// short names, junctions, drives made by subst). It is in the namespace that all users and
// sessions of this machine share (Microsoft, "Kernel object namespaces"). A file in a directory
// for all users would remain when it is unlocked, and a user cannot write his pid into that of
// another. What a mutex does not reach are other machines and, with containers of their own
// kernel namespaces, other containers: a root on a share needs one collector by agreement.
//
// Besides it, its maker has a mutex with its pid in the name, which is how others learn the pid.
type RootLock struct {
	name   string           // of the mutex
	opened []windows.Handle // the mutex, and that of the pid; none: not taken
}

// OpenLock finds out what root is, for [RootLock.Take]. It locks nothing, and leaves nothing open.
func OpenLock(root string) (*RootLock, error) {
	path, err := windows.UTF16PtrFromString(root)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: root, Err: err}
	}
	// FILE_FLAG_BACKUP_SEMANTICS is what opens a directory.
	const share = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE
	dir, err := windows.CreateFile(path, windows.FILE_READ_ATTRIBUTES, share, nil,
		windows.OPEN_EXISTING, windows.FILE_FLAG_BACKUP_SEMANTICS, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: root, Err: err}
	}
	defer windows.CloseHandle(dir)
	var info windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(dir, &info); err != nil {
		return nil, &os.PathError{Op: "stat", Path: root, Err: err}
	}
	return &RootLock{name: fmt.Sprintf(`Global\runtimegc-%08x-%08x%08x`,
		info.VolumeSerialNumber, info.FileIndexHigh, info.FileIndexLow)}, nil
}

// Close releases the lock.
func (l *RootLock) Close() {
	for _, mutex := range l.opened {
		windows.CloseHandle(mutex)
	}
	l.opened = nil
}

// Take takes the lock, without waiting. It may be tried again. The error is a [HeldError] if
// another process, or another lock of this one, holds it.
func (l *RootLock) Take() error {
	if len(l.opened) > 0 {
		return nil
	}
	for try := 1; ; try++ {
		mutex, err := makeMutex(l.name)
		if err == nil {
			l.opened = append(l.opened, mutex)
			break
		}
		if !errors.Is(err, ErrLocked) {
			return err
		}
		held, found := l.findHolder()
		if found || try == takeTries {
			return held
		}
	}
	// Without this one, others are only not told who holds the lock.
	if mutex, err := makeMutex(l.nameOf(windows.GetCurrentProcessId())); err == nil {
		l.opened = append(l.opened, mutex)
	}
	return nil
}

// Holder returns who holds the lock of a root, without taking it, or nil if that is nobody. It
// reports false if that cannot be determined.
func Holder(root string) (held *HeldError, known bool) {
	l, err := OpenLock(root)
	if err != nil {
		return nil, errors.Is(err, fs.ErrNotExist)
	}
	switch exists, err := mutexExists(l.name); {
	case err != nil:
		return nil, false
	case !exists:
		return nil, true
	}
	held, _ = l.findHolder()
	return held, true
}

// nameOf returns the name of the mutex that says that pid holds l.
func (l *RootLock) nameOf(pid uint32) string { return fmt.Sprintf("%s-%d", l.name, pid) }

// makeMutex makes a mutex. The error is [ErrLocked] if there is one of that name.
func makeMutex(name string) (windows.Handle, error) {
	p, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return 0, err
	}
	switch mutex, err := windows.CreateMutex(nil, false, p); err {
	case nil:
		return mutex, nil
	case windows.ERROR_ALREADY_EXISTS:
		windows.CloseHandle(mutex) // it was opened
		return 0, ErrLocked
	case windows.ERROR_ACCESS_DENIED: // that of another user, which we may not open
		return 0, ErrLocked
	default:
		return 0, os.NewSyscallError("CreateMutex", err)
	}
}

// findHolder returns who holds l: the process that has a mutex with its pid in the name. It
// reports false if there is none: the lock may be free by now, or that mutex is yet to be made.
func (l *RootLock) findHolder() (*HeldError, bool) {
	pids, err := processIDs()
	if err != nil {
		return &HeldError{}, true
	}
	for _, pid := range pids {
		if exists, _ := mutexExists(l.nameOf(pid)); exists {
			return &HeldError{PID: fmt.Sprint(pid), Program: programOf(pid)}, true
		}
	}
	return &HeldError{}, false
}

// mutexExists reports whether there is a mutex of that name, and makes none.
func mutexExists(name string) (bool, error) {
	p, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return false, err
	}
	switch mutex, err := windows.OpenMutex(windows.SYNCHRONIZE, false, p); err {
	case nil:
		windows.CloseHandle(mutex)
		return true, nil
	case windows.ERROR_ACCESS_DENIED: // that of another user, which we may not open
		return true, nil
	case windows.ERROR_FILE_NOT_FOUND:
		return false, nil
	default:
		return false, os.NewSyscallError("OpenMutex", err)
	}
}

// processIDs returns the pids of all processes.
func processIDs() ([]uint32, error) {
	for n := 1024; ; n *= 2 {
		pids := make([]uint32, n)
		var size uint32 // in bytes
		if err := windows.EnumProcesses(pids, &size); err != nil {
			return nil, os.NewSyscallError("EnumProcesses", err)
		}
		if got := int(size) / int(unsafe.Sizeof(pids[0])); got < n {
			return pids[:got], nil
		}
	}
}

// programOf returns the name of the program that pid runs; empty if that is not known.
func programOf(pid uint32) string {
	process, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, pid)
	if err != nil {
		return ""
	}
	defer windows.CloseHandle(process)
	path := make([]uint16, windows.MAX_LONG_PATH)
	size := uint32(len(path))
	if windows.QueryFullProcessImageName(process, 0, &path[0], &size) != nil {
		return ""
	}
	return daemondir.Printable(filepath.Base(windows.UTF16ToString(path[:size])))
}

package fsys

import (
	"io/fs"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/windows"
)

// renameInfo is FILE_RENAME_INFORMATION (ntifs.h), with the longest name that a file can have.
type renameInfo struct {
	replaceIfExists bool
	rootDirectory   windows.Handle
	fileNameLength  uint32 // in bytes
	fileName        [windows.MAX_PATH]uint16
}

// Rename renames from to to in the root. The error is fs.ErrExist if to exists: unlike
// [os.Root.Rename] this replaces nothing. It is [Busy] if a process has from, or on NTFS
// anything in it, open.
func (r *Root) Rename(from, to string) error {
	err := r.rename(from, to)
	if err != nil {
		err = &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return err
}

func (r *Root) rename(from, to string) error {
	defer runtime.KeepAlive(r)
	name, err := windows.NewNTUnicodeString(from)
	if err != nil {
		return err
	}
	in := windows.OBJECT_ATTRIBUTES{
		RootDirectory: windows.Handle(r.dir.Fd()),
		ObjectName:    name,
		Attributes:    windows.OBJ_CASE_INSENSITIVE,
	}
	in.Length = uint32(unsafe.Sizeof(in))
	var h windows.Handle
	var status windows.IO_STATUS_BLOCK
	const share = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE
	err = windows.NtCreateFile(&h, windows.DELETE|windows.SYNCHRONIZE, &in, &status, nil, windows.FILE_ATTRIBUTE_NORMAL,
		share, windows.FILE_OPEN,
		windows.FILE_SYNCHRONOUS_IO_NONALERT|windows.FILE_OPEN_FOR_BACKUP_INTENT|windows.FILE_OPEN_REPARSE_POINT, 0, 0)
	if err != nil {
		return errnoOf(err)
	}
	defer windows.CloseHandle(h)
	to16, err := windows.UTF16FromString(to)
	if err != nil {
		return err
	}
	info := renameInfo{rootDirectory: in.RootDirectory}
	if len(to16) > len(info.fileName) {
		return windows.ERROR_FILENAME_EXCED_RANGE
	}
	copy(info.fileName[:], to16)
	info.fileNameLength = uint32(len(to16)-1) * 2 // without the NUL
	err = errnoOf(windows.NtSetInformationFile(h, &status, (*byte)(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)),
		windows.FileRenameInformation))
	switch err {
	case windows.ERROR_ACCESS_DENIED:
		// We may rename it: it was opened for that.
		return errOpenBelow
	case windows.ERROR_ALREADY_EXISTS, windows.ERROR_FILE_EXISTS:
		return fs.ErrExist
	}
	return err
}

// errnoOf returns the system error that an NTSTATUS stands for.
func errnoOf(err error) error {
	status, ok := err.(windows.NTStatus)
	switch {
	case !ok:
		return err
	case status == windows.STATUS_DELETE_PENDING:
		return windows.ERROR_DELETE_PENDING // Errno says that access is denied
	}
	return status.Errno()
}

package fsys

import (
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// links returns 1: on Windows a file must be opened to learn the number of its links. See
// [OpenElsewhere], which does.
func links(fs.FileInfo) uint64 { return 1 }

// linksIn opens the file name in the directory to learn the number of its links, 1 if it
// cannot be opened. It shares everything meanwhile.
func linksIn(d *os.Root, name string, _ fs.FileInfo) uint64 {
	f, err := d.OpenFile(name, os.O_RDONLY|windows.FILE_FLAG_OPEN_REPARSE_POINT, 0)
	if err != nil {
		return 1
	}
	defer f.Close()
	var info windows.ByHandleFileInformation
	if windows.GetFileInformationByHandle(windows.Handle(f.Fd()), &info) != nil {
		return 1
	}
	return uint64(info.NumberOfLinks)
}

// number returns 0: on Windows no process is asked for the sockets that it has bound.
func number(fs.FileInfo) uint64 { return 0 }

// foreign returns false: on Windows the access control list says who may remove a file.
func foreign(fs.FileInfo) bool { return false }

// keepOwner does nothing: on Windows a new file keeps its default owner.
func keepOwner(*os.File, fs.FileInfo) error { return nil }

package daemondir

import (
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// IdentifyFile returns the identity of the open file or directory f: the serial number of its
// volume, and its index there (GetFileInformationByHandle, BY_HANDLE_FILE_INFORMATION). A
// rename keeps both on NTFS, but not on FAT, where the index is the place of the directory
// entry. On ReFS, whose indexes have 128 bits, half of one may belong to two files. A file
// system without indexes gives 0, which is unknown.
func IdentifyFile(f *os.File) (FileID, error) {
	var d windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(windows.Handle(f.Fd()), &d); err != nil {
		return FileID{}, &fs.PathError{Op: "GetFileInformationByHandle", Path: f.Name(), Err: err}
	}
	index := uint64(d.FileIndexHigh)<<32 | uint64(d.FileIndexLow)
	if index == 0 {
		return FileID{}, nil
	}
	return FileID{Dev: uint64(d.VolumeSerialNumber), Ino: index}, nil
}

// IdentifyIn returns the identity of name in r. It does not follow a symlink.
func IdentifyIn(r *os.Root, name string) (FileID, error) {
	f, err := r.OpenFile(name, os.O_RDONLY|windows.FILE_FLAG_OPEN_REPARSE_POINT, 0)
	if err != nil {
		return FileID{}, err
	}
	defer f.Close()
	return IdentifyFile(f)
}

// IdentifyPath returns the identity of the file or directory at path, and follows symlinks.
func IdentifyPath(path string) (FileID, error) {
	f, err := openPath(path, windows.FILE_READ_ATTRIBUTES, 0)
	if err != nil {
		return FileID{}, err
	}
	defer f.Close()
	return IdentifyFile(f)
}

// lstamp returns the stamp of the regular file at path, or the zero Stamp if there is none.
func lstamp(path string) Stamp {
	// Whoever has the file open cannot refuse this: only access to the data is shared or not.
	f, err := openPath(path, windows.FILE_READ_ATTRIBUTES, windows.FILE_FLAG_OPEN_REPARSE_POINT)
	if err != nil {
		return Stamp{}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return Stamp{}
	}
	id, _ := IdentifyFile(f)
	return stampOf(info, id)
}

//go:build unix

package daemondir

import (
	"io/fs"
	"os"
	"syscall"
)

// IdentifyFile returns the identity of the open file or directory f.
func IdentifyFile(f *os.File) (FileID, error) {
	info, err := f.Stat()
	if err != nil {
		return FileID{}, err
	}
	return identify(info), nil
}

// IdentifyIn returns the identity of name in r. It does not follow a symlink.
func IdentifyIn(r *os.Root, name string) (FileID, error) {
	info, err := r.Lstat(name)
	if err != nil {
		return FileID{}, err
	}
	return identify(info), nil
}

// IdentifyPath returns the identity of the file or directory at path, and follows symlinks.
func IdentifyPath(path string) (FileID, error) {
	info, err := os.Stat(path)
	if err != nil {
		return FileID{}, err
	}
	return identify(info), nil
}

func identify(info fs.FileInfo) FileID {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return FileID{}
	}
	return FileID{Dev: uint64(st.Dev), Ino: uint64(st.Ino)}
}

// lstamp returns the stamp of the regular file at path, or the zero Stamp if there is none.
func lstamp(path string) Stamp {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return Stamp{}
	}
	return stampOf(info, identify(info))
}

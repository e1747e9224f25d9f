package fsys

import (
	"io/fs"
	"os"
)

// links returns 1: on Windows a file must be opened to learn the number of its links.
func links(fs.FileInfo) uint64 { return 1 }

// keepOwner does nothing: on Windows a new file keeps its default owner.
func keepOwner(*os.File, fs.FileInfo) error { return nil }

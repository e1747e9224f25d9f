package fsys

import (
	"io/fs"
	"os"
)

// links returns 1: on Windows a file must be opened to learn the number of its links.
func links(fs.FileInfo) uint64 { return 1 }

// number returns 0: on Windows no process is asked for the sockets that it has bound.
func number(fs.FileInfo) uint64 { return 0 }

// foreign returns false: on Windows the access control list says who may remove a file.
func foreign(fs.FileInfo) bool { return false }

// keepOwner does nothing: on Windows a new file keeps its default owner.
func keepOwner(*os.File, fs.FileInfo) error { return nil }

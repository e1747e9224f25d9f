package control

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/windows"
)

// private returns true: the directory for temporary files is in the user's profile, and the
// directory has its access control list.
func private(fs.FileInfo) bool { return true }

// refused reports that nobody listens.
func refused(err error) bool { return errors.Is(err, windows.WSAECONNREFUSED) }

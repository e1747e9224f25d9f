//go:build (!linux && !windows) || portable

package fsys

import (
	"io/fs"
	"os"
)

// Rename renames from to to in the root. The error is fs.ErrExist if to exists. A directory
// that is made between this check and the rename is replaced only if it is empty.
func (r *Root) Rename(from, to string) error {
	if to == "" {
		// As of rename(2); an os.Root has an error of its own.
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: fs.ErrNotExist}
	}
	if _, err := r.root.Lstat(to); err == nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: fs.ErrExist}
	}
	return r.root.Rename(from, to)
}

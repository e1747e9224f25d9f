//go:build !linux || portable

package fsys

import (
	"io/fs"
	"os"
)

// Rename renames from to to in the root. It fails with fs.ErrExist if to exists; a directory that comes up between the question and the rename is only
// replaced if it is empty.
func (r *Root) Rename(from, to string) error {
	if _, err := r.root.Lstat(to); err == nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: fs.ErrExist}
	}
	return r.root.Rename(from, to)
}

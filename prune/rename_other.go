//go:build !linux || portable

package prune

import (
	"io/fs"
	"os"
)

// renameNoReplace renames from to to within root. It fails with fs.ErrExist if to
// exists; a directory that comes up between the question and the rename is only
// replaced if it is empty.
func renameNoReplace(root *os.Root, _ *os.File, from, to string) error {
	if _, err := root.Lstat(to); err == nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: fs.ErrExist}
	}
	return root.Rename(from, to)
}

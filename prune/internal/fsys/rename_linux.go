//go:build !portable

package fsys

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Rename renames from to to in the root. The error is fs.ErrExist if to exists, and
// [ErrLowerLayer] if from is a directory that overlayfs cannot rename.
func (r *Root) Rename(from, to string) error {
	fd := int(r.dir.Fd())
	err := unix.Renameat2(fd, from, fd, to, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL || err == unix.ENOSYS {
		// The kernel (before Linux 3.15) or the file system (NFS) does not have the flag. A
		// directory replaces only an empty directory, so nothing can be lost.
		err = unix.Renameat(fd, from, fd, to)
	}
	if err == nil {
		return nil
	}
	linkErr := &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	var st unix.Statfs_t
	if err == unix.EXDEV && unix.Fstatfs(fd, &st) == nil && st.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return fmt.Errorf("%w: %w", ErrLowerLayer, linkErr)
	}
	return linkErr
}

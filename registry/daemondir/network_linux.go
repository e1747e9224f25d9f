//go:build !portable

package daemondir

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// networkTypes are the file systems that other machines may change, or whose changes another
// program makes, by their magic numbers in statfs(2), linux/magic.h and coreutils' stat.c.
// virtiofs has the number of FUSE. Changes that are not made by this kernel raise no event
// (inotify(7), "Limitations"), and locks on a directory may be unknown to the others.
var networkTypes = map[uint32]string{
	unix.NFS_SUPER_MAGIC:   "nfs",
	unix.SMB_SUPER_MAGIC:   "smb",
	unix.CIFS_SUPER_MAGIC:  "cifs",
	unix.SMB2_SUPER_MAGIC:  "smb2",
	unix.CEPH_SUPER_MAGIC:  "ceph",
	unix.AFS_SUPER_MAGIC:   "afs",
	unix.AFS_FS_MAGIC:      "afs",
	unix.CODA_SUPER_MAGIC:  "coda",
	unix.OCFS2_SUPER_MAGIC: "ocfs2",
	unix.V9FS_MAGIC:        "9p",
	unix.FUSE_SUPER_MAGIC:  "fuse",
	0x01161970:             "gfs2",
	0x0bd00bd0:             "lustre",
	0x19830326:             "beegfs",
	0x20030528:             "orangefs",
	0x47504653:             "gpfs",
	0x786f4256:             "vboxsf",
	0xbacbacbc:             "vmhgfs",
}

// NetworkType returns the name of path's file-system type if this kernel is not the only one
// that changes what is there, or "". The error is fs.ErrNotExist if there is no such path, or
// says why it cannot be determined, such as [ErrNoAnswer] after a second.
func NetworkType(path string) (string, error) {
	type result struct {
		kind string
		err  error
	}
	r, ok := Within(answerTime, "type "+path, func() result {
		kind, err := networkType(path)
		return result{kind, err}
	})
	if !ok {
		r.err = ErrNoAnswer
	}
	if r.err != nil {
		return "", fmt.Errorf("determining the file system of %q: %w", Printable(path), r.err)
	}
	return r.kind, nil
}

func networkType(path string) (string, error) {
	var st unix.Statfs_t
	_, err := IgnoringEINTR(func() (int, error) { return 0, unix.Statfs(path, &st) })
	return networkTypes[uint32(st.Type)], err
}

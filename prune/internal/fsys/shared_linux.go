//go:build !portable

package fsys

import (
	"fmt"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir"
)

// sharedTypes are the file systems that several hosts, or a host and its guests, can have
// mounted, by their magic numbers in statfs(2), linux/magic.h and coreutils' stat.c.
// virtiofs has the number of FUSE.
var sharedTypes = map[uint32]string{
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

// Shared returns the type of the file system that dir is on if other hosts may have that
// mounted as well, or "". The error is fs.ErrNotExist if there is no dir.
func Shared(dir string) (string, error) {
	var st unix.Statfs_t
	_, err := daemondir.IgnoringEINTR(func() (int, error) { return 0, unix.Statfs(dir, &st) })
	if err != nil {
		return "", fmt.Errorf("asking for the file system of %q: %w", dir, err)
	}
	return sharedTypes[uint32(st.Type)], nil
}

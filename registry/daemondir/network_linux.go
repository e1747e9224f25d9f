//go:build !portable

package daemondir

import "syscall"

// networkTypes are the file systems that other machines may change, or whose changes another
// program makes, by their magic numbers in statfs(2) and linux/magic.h. Changes that are not
// made by this kernel raise no event (inotify(7), "Limitations"), and locks on a directory
// may be unknown to the others.
var networkTypes = map[uint32]string{
	0x00006969: "nfs",
	0x0000517b: "smb",
	0xff534d42: "cifs",
	0xfe534d42: "smb2",
	0x65735546: "fuse",
	0x01021997: "9p",
	0x00c36400: "ceph",
	0x5346414f: "afs",
}

// NetworkType returns the name of path's file-system type if this kernel is not the only one
// that changes what is there, or "".
func NetworkType(path string) string {
	var st syscall.Statfs_t
	if syscall.Statfs(path, &st) != nil {
		return ""
	}
	return networkTypes[uint32(st.Type)]
}

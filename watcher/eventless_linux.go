//go:build !portable

package watcher

import "syscall"

// eventlessTypes are the file systems on which changes made by other machines raise no
// event (inotify(7), "Limitations"), by their magic numbers in statfs(2) and linux/magic.h.
var eventlessTypes = map[uint32]string{
	0x00006969: "nfs",
	0x0000517b: "smb",
	0xff534d42: "cifs",
	0xfe534d42: "smb2",
	0x65735546: "fuse",
	0x01021997: "9p",
	0x00c36400: "ceph",
	0x5346414f: "afs",
}

// eventlessType returns the name of path's file-system type if changes there may raise no
// event, or "".
func eventlessType(path string) string {
	var st syscall.Statfs_t
	if syscall.Statfs(path, &st) != nil {
		return ""
	}
	return eventlessTypes[uint32(st.Type)]
}

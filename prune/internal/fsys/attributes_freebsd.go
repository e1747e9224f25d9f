package fsys

import (
	"encoding/binary"
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fixedFlags forbid the removal of a file, or of what is in a directory: UF_IMMUTABLE, UF_APPEND
// and UF_NOUNLINK of <sys/stat.h>, and the same with SF, which only root can change.
const fixedFlags = 0x2 | 0x4 | 0x10 | 0x20000 | 0x40000 | 0x100000

// attributeNames returns the names of a file's extended attributes in the namespace of users:
// those of the system are given by it (extattr(9)).
func attributeNames(fd int) ([]string, error) {
	list, err := sized(func(buf []byte) (int, error) { return unix.FlistxattrNS(fd, unix.EXTATTR_NAMESPACE_USER, buf) })
	if err != nil {
		return nil, err
	}
	var names []string
	for len(list) > 0 { // each name after its length in one byte (extattr_list_fd(2))
		end := 1 + int(list[0])
		if end > len(list) {
			return nil, errors.New("extattr_list_fd: a name is cut off")
		}
		names = append(names, "user."+string(list[1:end]))
		list = list[end:]
	}
	return names, nil
}

// Of <sys/acl.h>.
const (
	aclTypeAccess = 2 // POSIX.1e
	aclTypeNFS4   = 4
	aclMaxEntries = 254
	aclSize       = 24 + aclMaxEntries*16 // struct acl
)

// accessList returns a file's access control list as __acl_get_fd(2) does. Which of the two
// kinds a file system has, if any, the call tells by its error (acl(9)).
func accessList(fd int) ([]byte, error) {
	for _, kind := range []uintptr{aclTypeNFS4, aclTypeAccess} {
		list := make([]byte, aclSize)
		binary.NativeEndian.PutUint32(list, aclMaxEntries)
		_, _, errno := unix.Syscall(unix.SYS___ACL_GET_FD, uintptr(fd), kind, uintptr(unsafe.Pointer(&list[0])))
		switch errno {
		case 0:
			return list, nil
		case unix.EINVAL, unix.EOPNOTSUPP:
		default:
			return nil, errno
		}
	}
	return nil, nil
}

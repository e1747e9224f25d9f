package fsys

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fixedFlags forbid the removal of a file, or of what is in a directory. UF_IMMUTABLE is "Locked"
// in the Finder; those that begin with SF can be changed by root only.
const fixedFlags = unix.UF_IMMUTABLE | unix.UF_APPEND | unix.SF_IMMUTABLE | unix.SF_APPEND | unix.SF_NOUNLINK

// provenance is an attribute that macOS gives to files and nobody can set or remove.
const provenance = "com.apple.provenance"

// attributeNames returns the names of a file's extended attributes that can be kept.
func attributeNames(fd int) ([]string, error) {
	list, err := sized(func(buf []byte) (int, error) { return unix.Flistxattr(fd, buf) })
	names := strings.FieldsFunc(string(list), func(r rune) bool { return r == 0 })
	return slices.DeleteFunc(names, func(name string) bool { return name == provenance }), err
}

// attrCmnExtendedSecurity is ATTR_CMN_EXTENDED_SECURITY of <sys/attr.h>.
const attrCmnExtendedSecurity = 0x00400000

// accessList returns a file's access control list as getattrlist(2) does: an attrreference, and
// a struct kauth_filesec if there is a list. It has at most 128 entries (KAUTH_ACL_MAX_ENTRIES)
// of 24 bytes. Nothing but this call and libc gets at it: it is no extended attribute.
func accessList(fd int) ([]byte, error) {
	want := unix.Attrlist{Bitmapcount: 5, Commonattr: attrCmnExtendedSecurity} // ATTR_BIT_MAP_COUNT
	var buf [8 << 10]byte
	_, _, errno := unix.Syscall6(unix.SYS_FGETATTRLIST, uintptr(fd), uintptr(unsafe.Pointer(&want)),
		uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0, 0)
	switch errno {
	case 0:
	case unix.ENOTSUP:
		return nil, nil
	default:
		return nil, errno
	}
	size := binary.NativeEndian.Uint32(buf[:])
	if size < 12 || int64(size) > int64(len(buf)) {
		return nil, errors.New("getattrlist: unexpected size")
	}
	return buf[:size], nil
}

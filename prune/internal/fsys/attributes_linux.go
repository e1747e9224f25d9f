package fsys

import (
	"strings"

	"golang.org/x/sys/unix"
)

// attributeNames returns the names of a file's extended attributes.
func attributeNames(fd int) ([]string, error) {
	list, err := sized(func(buf []byte) (int, error) { return unix.Flistxattr(fd, buf) })
	return strings.FieldsFunc(string(list), func(r rune) bool { return r == 0 }), err
}

// accessList returns nothing: on Linux an access control list is an attribute (acl(5)).
func accessList(int) ([]byte, error) { return nil, nil }

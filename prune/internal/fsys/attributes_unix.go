//go:build linux || darwin || freebsd

package fsys

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir"
)

// keepAttributes gives t the extended attributes of f (xattr(7)), and no others. The error is
// that one of them cannot be kept, or that the access control lists differ where they are no
// attributes.
func keepAttributes(t *os.File, f *daemondir.File) error {
	want, err := attributes(f.Fd())
	if err != nil {
		return fmt.Errorf("reading its attributes: %w", err)
	}
	fd := int(t.Fd())
	have, err := attributes(fd)
	if err != nil {
		return fmt.Errorf("reading its attributes: %w", err)
	}
	for name, value := range want {
		if has, ok := have[name]; ok && bytes.Equal(has, value) {
			continue // given by the system, such as a security label
		}
		if err := unix.Fsetxattr(fd, name, value, 0); err != nil {
			return fmt.Errorf("keeping its attribute %s: %w", name, err)
		}
	}
	for name := range have {
		if _, ok := want[name]; ok {
			continue
		}
		// Inherited, as a default access control list is.
		if err := unix.Fremovexattr(fd, name); err != nil {
			return fmt.Errorf("removing the attribute %s: %w", name, err)
		}
	}
	wantList, err := accessList(f.Fd())
	haveList, haveErr := accessList(fd)
	if err = errors.Join(err, haveErr); err != nil {
		return fmt.Errorf("reading its access control list: %w", err)
	}
	if !bytes.Equal(wantList, haveList) {
		return errors.New("its access control list cannot be kept")
	}
	return nil
}

// attributes returns the extended attributes of a file; none if its file system has none.
func attributes(fd int) (map[string][]byte, error) {
	names, err := attributeNames(fd)
	if err == unix.ENOTSUP || err == unix.ENOSYS {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all := make(map[string][]byte)
	for _, name := range names {
		if all[name], err = sized(func(buf []byte) (int, error) { return unix.Fgetxattr(fd, name, buf) }); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// sized makes a system call that tells the size it needs when the buffer is empty.
func sized(call func([]byte) (int, error)) ([]byte, error) {
	n, err := call(nil)
	if err != nil || n == 0 {
		return nil, err
	}
	buf := make([]byte, n)
	n, err = call(buf)
	return buf[:max(n, 0)], err
}

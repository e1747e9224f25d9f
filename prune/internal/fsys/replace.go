package fsys

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"runtimegc/registry/daemondir"
)

// tempName is the temporary file in the daemon dir. It is not derived from the daemon's
// name, which may be 243 bytes long and leave no space for a suffix.
const tempName = ".runtimegc.tmp"

// ErrChanged says that a file has changed since it was read.
var ErrChanged = errors.New("changed meanwhile")

// Replace is [Patch] without leases: it writes the new text to a temporary file with the same
// mode and owner, checks that the old file still has its text, and renames the new file over
// it. path is that of f, and id that of its dir. The error is [ErrChanged] if either has
// changed. An update by another process between the check and the rename, a few
// microseconds, is lost. It closes f, because Windows may not replace what is open. What a
// crash leaves behind is removed by [RemoveTemps], or here the next time.
func Replace(path string, id daemondir.FileID, f *daemondir.File, text, tail []byte, offset int) error {
	closeOld := sync.OnceValue(f.Close)
	defer closeOld()
	dir, name := filepath.Split(path)
	d, err := daemondir.OpenShared(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return ErrChanged
		}
		return fmt.Errorf("opening %q: %w", dir, err)
	}
	defer d.Close()
	// It must be the dir that was judged; a symlink may have replaced it.
	if now, err := daemondir.IdentifyIn(d, "."); err != nil || now != id {
		return ErrChanged
	}
	err = errors.Join(writeTemp(d, name, f, Patched(text, tail, offset)), closeOld())
	if err == nil {
		err = unchanged(d, name, text)
	}
	if err == nil {
		err = d.Rename(tempName, name)
	}
	if err != nil {
		_ = daemondir.RemoveIn(d, tempName) // it may not have been made
		if errors.Is(err, ErrChanged) {
			return err
		}
		return fmt.Errorf("replacing %q: %w", path, err)
	}
	return nil
}

// Patched returns text after a [Patch]. The tail may end before the text does, if the new
// number is as long as the old one.
func Patched(text, tail []byte, offset int) []byte {
	patched := append(append([]byte(nil), text[:offset]...), tail...)
	if len(patched) < len(text) {
		patched = append(patched, text[len(patched):]...)
	}
	return patched
}

// writeTemp writes text to a new temporary file with the owner, the mode and the attributes
// of f, which is name; an access control list (acl(5)) is an attribute. The error may say
// that one of them cannot be kept: a sidecar is full of secrets, and must not become readable
// for others.
func writeTemp(d *os.Root, name string, f *daemondir.File, text []byte) error {
	info, err := d.Lstat(name)
	if err != nil {
		return ErrChanged
	}
	_ = daemondir.RemoveIn(d, tempName) // left by a crash
	t, err := d.OpenFile(tempName, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = t.Write(text)
	// The owner before the mode, because chown(2) may clear mode bits; then the attributes,
	// because chmod(2) changes an access control list.
	return errors.Join(err, keepOwner(t, info), t.Chmod(f.Mode()), keepAttributes(t, f), t.Sync(), t.Close())
}

// unchanged returns ErrChanged unless name still is a regular file with that text.
func unchanged(d *os.Root, name string, text []byte) error {
	info, err := d.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() != int64(len(text)) {
		return ErrChanged
	}
	f, err := d.OpenFile(name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return ErrChanged
	}
	defer f.Close()
	now, err := io.ReadAll(io.LimitReader(f, int64(len(text))+1))
	if err != nil || !bytes.Equal(now, text) {
		return ErrChanged
	}
	return nil
}

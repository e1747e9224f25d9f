package fsys

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"runtimegc/registry/daemondir"
)

// tempName is the file that the new text is written to, in the daemon dir. A daemon name
// may be 243 bytes long, so it is not made of that.
const tempName = ".runtimegc.tmp"

// ErrChanged says that a file is not what it was when it was read.
var ErrChanged = errors.New("changed meanwhile")

// Replace is [Patch] where there are no leases: the new text in a file of the same mode,
// compared once more with the old one, renamed over it. path is that of f, and id of the
// dir it is in. The error is [ErrChanged] if either is no longer what it was. An update
// that falls between the comparison and the rename is lost; that window is a few
// microseconds, but it is there.
func Replace(path string, id daemondir.FileID, f *daemondir.File, text, tail []byte, offset int) error {
	dir, name := filepath.Split(path)
	d, err := os.OpenRoot(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return ErrChanged
		}
		return fmt.Errorf("opening %q: %w", dir, err)
	}
	defer d.Close()
	// The dir that was judged, not what a symlink in its place leads to by now.
	if info, err := d.Stat("."); err != nil || daemondir.Identify(info) != id {
		return ErrChanged
	}
	// The tail may end before the text does: a number in place of one as long.
	renewed := append(append([]byte(nil), text[:offset]...), tail...)
	if len(renewed) < len(text) {
		renewed = append(renewed, text[len(renewed):]...)
	}
	err = writeTemp(d, name, f.Mode(), renewed)
	if err == nil {
		err = unchanged(d, name, text)
	}
	if err == nil {
		err = d.Rename(tempName, name)
	}
	if err != nil {
		_ = d.Remove(tempName) // it may not have been made
		if errors.Is(err, ErrChanged) {
			return err
		}
		return fmt.Errorf("replacing %q: %w", path, err)
	}
	return nil
}

// writeTemp writes text to a new temporary file of that mode, and of the owner of name.
func writeTemp(d *os.Root, name string, mode os.FileMode, text []byte) error {
	info, err := d.Lstat(name)
	if err != nil {
		return ErrChanged
	}
	_ = d.Remove(tempName) // left by a crash
	t, err := d.OpenFile(tempName, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = t.Write(text)
	// The owner before the mode: chown(2) may clear bits of the latter.
	return errors.Join(err, keepOwner(t, info), t.Chmod(mode), t.Sync(), t.Close())
}

// unchanged returns ErrChanged unless the file name still is one that holds text.
func unchanged(d *os.Root, name string, text []byte) error {
	info, err := d.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() != int64(len(text)) {
		return ErrChanged
	}
	f, err := d.Open(name)
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

package daemondir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// protectMark is the file in a daemon dir that says that it must never be removed. The
// spawner reuses a dir with all that is in it, so the mark survives respawns.
const protectMark = ".runtimegc-protected"

// Protect leaves a mark in the daemon dir root/name: no collector removes it from then on. It
// reports false if there is one already. The error is fs.ErrNotExist if there is no such
// dir, or says why the mark cannot be made.
func Protect(root, name string) (bool, error) {
	return changeMark(root, name, func(dir *os.Root) error {
		f, err := dir.OpenFile(protectMark, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		_, err = f.WriteString("This directory is never removed. \"runtimegc unprotect\" removes this mark.\n")
		return errors.Join(err, f.Close())
	}, fs.ErrExist)
}

// Unprotect removes the mark of [Protect]. It reports false if there is none.
func Unprotect(root, name string) (bool, error) {
	return changeMark(root, name, func(dir *os.Root) error { return RemoveIn(dir, protectMark) }, fs.ErrNotExist)
}

// changeMark changes the mark of a daemon dir. The error done says that it is as it should be.
func changeMark(root, name string, change func(dir *os.Root) error, done error) (bool, error) {
	path := filepath.Join(root, name)
	info, err := os.Lstat(path)
	if err != nil {
		return false, err
	}
	dir, err := OpenShared(path)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	// It must be a directory itself: a symlink may lead out of the root.
	if opened, err := dir.Stat("."); err != nil || !os.SameFile(info, opened) {
		return false, &fs.PathError{Op: "opening daemon dir", Path: path, Err: fs.ErrNotExist}
	}
	err = change(dir)
	changed := err == nil
	if errors.Is(err, done) {
		err = nil
	}
	// A removal renames the dir, then looks for the mark: one of us sees the other.
	if now, statErr := os.Lstat(path); err == nil && (statErr != nil || !os.SameFile(info, now)) {
		return false, &fs.PathError{Op: "opening daemon dir", Path: path, Err: fs.ErrNotExist}
	}
	return changed, err
}

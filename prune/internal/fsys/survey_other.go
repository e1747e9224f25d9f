//go:build !linux || portable

package fsys

import (
	"errors"
	"io/fs"
	"os"
)

// errNoLeases says that the system does not tell who has a file open.
var errNoLeases = errors.New("no leases on this system")

// facts describes name in d; an empty name is d.
func (d *dir) facts(name string) (facts, error) {
	if name == "" {
		name = "."
	}
	info, err := d.root.Lstat(name)
	if err != nil {
		return facts{}, err
	}
	return facts{
		mode:    info.Mode().Type(),
		links:   links(info),
		foreign: foreign(info),
		fixed:   fixed(info),
		ino:     number(info),
		written: info.ModTime(),
	}, nil
}

// writable returns an error if the content of d may not be removed: because d is another
// user's, and not writable by all. A directory of our own can be made writable.
func (d *dir) writable() error {
	info, err := d.root.Stat(".")
	if err != nil {
		return err
	}
	if foreign(info) && info.Mode()&0o003 != 0o003 {
		return errUnwritable
	}
	return nil
}

// keepsForeign reports whether d is sticky and another user's, so that only our own files can
// be removed from it.
func (d *dir) keepsForeign() bool {
	info, err := d.root.Stat(".")
	return err == nil && info.Mode()&fs.ModeSticky != 0 && foreign(info)
}

// mountFlags knows of no read-only mounts.
func mountFlags(*os.File) (readOnly, leases bool) { return false, tellsOpen }

// Package fsys has the file-system operations for the removal and refresh of daemon dirs:
// leases, locks, renames that replace nothing, removal of trees without following symlinks,
// and the mount table. It decides nothing.
//
//	root.go      the open runtime root
//	survey_*.go  what is in a directory      tree_*.go   emptying it
//	trail.go     the way down a tree, and back
//	rename_*.go  renaming in the root        replace.go  replacing a file, without a lease
//	temp.go      what is left if that is interrupted
//	mounts_*.go  mounts below the root       position_*.go  was the root, or a dir, moved?
//	owner_*.go, attributes_*.go, links_*.go  of a file
//	flock_*.go   the lock on the root, flocks  locks_*.go, holder_*.go  the table of flocks
//	lease_*.go   leases, and writing under one; what stands for them on Windows
//	open_*.go    is a file open elsewhere?
package fsys

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"runtimegc/registry/daemondir"
)

// ErrLowerLayer says that a directory belongs to a lower layer of overlayfs, such as a
// container's image. It can be emptied, but not renamed.
var ErrLowerLayer = errors.New("it belongs to a lower layer of overlayfs and cannot be renamed")

// Tick is the longest time between two readings of the clock by which file systems set time
// stamps (CONFIG_HZ=100, in time(7)).
const Tick = 10 * time.Millisecond

// Gone reports whether err says that a file or directory is no longer there: on NFS it is
// ESTALE if another host has removed what was open or known here.
func Gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESTALE)
}

// A Root is an open runtime root. All names are resolved in the directory that was opened,
// even if its path leads to another one by now.
type Root struct {
	path   string
	root   *os.Root        // cannot reach anything outside
	dir    *os.File        // the same directory, for renames
	dirs   *daemondir.Root // the same directory, for opening daemon dirs
	id     daemondir.FileID
	real   string // path without symlinks
	mounts *mountsBelow
	buf    []byte // for reading directories

	readOnly, leases bool // see mountFlags
}

// OpenRoot opens the root at path, and follows a symlink.
func OpenRoot(path string) (*Root, error) {
	root, err := daemondir.OpenShared(path)
	if err != nil {
		return nil, err
	}
	dir, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, err
	}
	r := &Root{path: path, root: root, dir: dir}
	if err := r.open(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Root) open() (err error) {
	if r.dirs, err = daemondir.OpenRoot(r.path); err != nil {
		return err
	}
	if r.id, err = daemondir.IdentifyFile(r.dir); err != nil {
		return err
	}
	r.readOnly, r.leases = mountFlags(r.dir)
	if r.real, err = filepath.EvalSymlinks(r.path); err != nil {
		return err
	}
	r.mounts, err = openMounts(r.real)
	return err
}

// Close closes the root.
func (r *Root) Close() {
	r.root.Close()
	r.dir.Close()
	if r.dirs != nil {
		r.dirs.Close()
	}
	if r.mounts != nil {
		r.mounts.close()
	}
}

// Path returns the path of name in the root, by the path that was opened.
func (r *Root) Path(name string) string { return filepath.Join(r.path, name) }

// RealPath returns the path of the root without symlinks, as of when it was opened.
func (r *Root) RealPath() string { return r.real }

// Open opens the daemon dir name. The error is fs.ErrNotExist if there is no directory of
// that name.
func (r *Root) Open(name string) (*daemondir.Dir, error) { return r.dirs.OpenDir(name) }

// SidecarStamp returns the stamp of the sidecar in the directory name of the root, as
// [daemondir.SidecarStamp]; PIDStamp that of the pid file.
func (r *Root) SidecarStamp(name string) daemondir.Stamp { return r.dirs.SidecarStamp(name) }

func (r *Root) PIDStamp(name string) daemondir.Stamp { return r.dirs.PIDStamp(name) }

// ID identifies the file or directory that has that name in the root now; it does not
// follow a symlink.
func (r *Root) ID(name string) (daemondir.FileID, error) {
	return daemondir.IdentifyIn(r.root, name)
}

// Same reports whether both are the same directory.
func (r *Root) Same(as *Root) bool { return r.id == as.id }

// SameDevice reports whether id is on the root's device.
func (r *Root) SameDevice(id daemondir.FileID) bool { return id.Dev == r.id.Dev }

// Mounted reports whether something is mounted on the directory name, or below it.
func (r *Root) Mounted(name string) (bool, error) { return r.mounts.below(name) }

// Locks is the function [Locks] for the root's file system.
func (r *Root) Locks() (map[uint64]string, error) { return Locks(r.dir) }

// IsFile reports whether the directory name has a regular file of that name.
func (r *Root) IsFile(name, file string) bool {
	info, err := r.root.Lstat(filepath.Join(name, file))
	return err == nil && info.Mode().IsRegular()
}

// Left reports what is left directly in the directory name: files that are only there because
// they are open (see [ErrStillOpen]), and anything else.
func (r *Root) Left(name string) (open, other bool, err error) {
	dir, err := r.root.OpenFile(name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return false, false, err
	}
	defer dir.Close()
	for !open || !other {
		names, err := dir.Readdirnames(100)
		for _, name := range names {
			open = open || stillOpen(name)
			other = other || !stillOpen(name)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return false, false, err
		}
	}
	return open, other, nil
}

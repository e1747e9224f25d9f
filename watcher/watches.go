package watcher

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"runtimegc/registry/daemondir"

	"github.com/fsnotify/fsnotify"
)

// watches knows what a session watches, and what it polls because it cannot.
type watches struct {
	fsn    *fsnotify.Watcher // nil: no inotify instance to be had (noFSN)
	noFSN  error
	paths  []string // see rootPaths
	above  error    // a directory above the root cannot be watched
	root   error    // the root itself cannot be watched
	listed error    // the last scan of the root failed

	rootWatched bool
	eventless   string // the root's file-system type, if it does not deliver events

	// A watch belongs to an inode, fsnotify files it under a path. byName is the dir each
	// watch was found to be on (the zero FileID: not known yet), byID the reverse: an Add
	// under a second path, after a rename that we have not heard of, returns the
	// watch of the first, and that watch vanishes when fsnotify hears of the rename (145
	// of 200 renames).
	byName map[string]daemondir.FileID
	byID   map[daemondir.FileID]string

	polled map[string]error // daemon dirs that are not watched, and why
	full   bool             // no watch to be had until the next retry
}

func newWatches(fsn *fsnotify.Watcher, err error) *watches {
	return &watches{
		fsn:    fsn,
		noFSN:  err,
		byName: make(map[string]daemondir.FileID),
		byID:   make(map[daemondir.FileID]string),
		polled: make(map[string]error),
	}
}

// addAbove watches the directories that hold the root and the symlinks that lead to
// it or, while one does not exist, the nearest one above it that does: removing or
// renaming a root leaves an empty watch list and silence.
func (w *watches) addAbove(paths []string) {
	w.paths, w.above = paths, nil
	if w.fsn == nil {
		return
	}
	for _, rootPath := range paths {
		for dir := nearestDir(filepath.Dir(rootPath)); ; {
			err := w.fsn.Add(dir)
			// What was made before the watch stood is no event.
			again := nearestDir(filepath.Dir(rootPath))
			if again == dir {
				w.above = errors.Join(w.above, err)
				break
			}
			dir = again
		}
	}
}

// addRoot watches the root, unless it is watched. One that has just gone is an event.
func (w *watches) addRoot(root string) {
	if w.fsn == nil || w.rootWatched {
		return
	}
	w.root = w.fsn.Add(root)
	w.rootWatched = w.root == nil
	if errors.Is(w.root, fs.ErrNotExist) {
		w.root = nil
	}
}

// add watches the daemon dir name, unless it is watched. One that cannot be watched
// is polled.
func (w *watches) add(root, name string) {
	if _, ok := w.byName[name]; ok {
		delete(w.polled, name) // it was polled because it could not be read
		return
	}
	if w.fsn == nil || daemondir.Quarantined(name) {
		return
	}
	if w.full {
		w.polled[name] = syscall.ENOSPC
		return
	}
	switch err := w.fsn.Add(filepath.Join(root, name)); {
	case err == nil:
		w.byName[name] = daemondir.FileID{}
		delete(w.polled, name)
	case errors.Is(err, fs.ErrNotExist):
		delete(w.polled, name)
	default:
		w.full = errors.Is(err, syscall.ENOSPC)
		w.polled[name] = err
	}
}

// bind notes that the dir that was read as name is id. It returns false when the watch
// filed under that name is on another dir; then that watch, and the watch of other,
// the name that the dir had before, are gone, and both names must be read again.
// A dir that has two names (a bind mount) is watched under the one and polled under
// the other, else both would be read again for ever.
func (w *watches) bind(root, name string, id daemondir.FileID) (other string, ok bool) {
	bound, watched := w.byName[name]
	if !watched || bound == id || id == (daemondir.FileID{}) {
		return "", true
	}
	other, taken := w.byID[id]
	if bound == (daemondir.FileID{}) && !taken {
		w.byName[name] = id
		w.byID[id] = name
		return "", true
	}
	if !taken {
		other = name
	} else if stands(root, other, id) {
		w.drop(root, name)
		w.polled[name] = fmt.Errorf("%q and %q are one directory", daemondir.Printable(other), daemondir.Printable(name))
		return "", true
	}
	w.drop(root, other)
	w.drop(root, name)
	return other, false
}

// stands says whether the daemon dir name is id now.
func stands(root, name string, id daemondir.FileID) bool {
	d, err := daemondir.Open(root, name)
	if err != nil {
		return false
	}
	defer d.Close()
	return d.ID() == id
}

// dropUnbound takes down the watch of name, which could not be read, unless an earlier
// read has shown which dir it is on: Add may have returned the watch of another name.
func (w *watches) dropUnbound(root, name string) {
	if id, ok := w.byName[name]; ok && id == (daemondir.FileID{}) {
		w.drop(root, name)
	}
}

// drop takes down the watch of name, if there is one.
func (w *watches) drop(root, name string) {
	delete(w.polled, name)
	id, ok := w.byName[name]
	if !ok {
		return
	}
	// The error is that there is no such watch any more: fsnotify or the kernel, who hear
	// of a removed dir as we do, may have been first.
	_ = w.fsn.Remove(filepath.Join(root, name))
	delete(w.byName, name)
	if w.byID[id] == name {
		delete(w.byID, id)
	}
}

// lost takes down, and returns, the daemon dirs of root that are filed as watched, but that
// fsnotify does not watch. When dirs change names faster than it reads their events, Add
// returns the watch that it has filed under the name before, and takes it down with that.
func (w *watches) lost(root string) []string {
	if w.fsn == nil {
		return nil
	}
	watched := make(map[string]struct{}, len(w.byName))
	for _, path := range w.fsn.WatchList() {
		watched[path] = struct{}{}
	}
	var names []string
	for name := range w.byName {
		if _, ok := watched[filepath.Join(root, name)]; !ok {
			names = append(names, name)
		}
	}
	for _, name := range names {
		w.drop(root, name)
	}
	return names
}

// postpone has name polled because reading it failed.
func (w *watches) postpone(name string, err error) { w.polled[name] = err }

// postponeScan has the root polled because listing it failed.
func (w *watches) postponeScan(err error) { w.listed = err }

// scanned notes that the root was listed and read.
func (w *watches) scanned() { w.listed = nil }

// retry watches what is above the root, if that was not to be had, and makes the next
// add ask the kernel again.
func (w *watches) retry() {
	w.full = false
	if w.above != nil {
		w.addAbove(w.paths)
	}
}

// canBegin says whether an fsnotify instance can be had now, after it could not.
func (w *watches) canBegin() bool {
	if w.fsn != nil {
		return false
	}
	fsn, err := fsnotify.NewWatcher()
	if err != nil {
		w.noFSN = err
		return false
	}
	fsn.Close()
	return true
}

// rootPolled says whether the whole root must be read at each poll.
func (w *watches) rootPolled() bool {
	return w.fsn == nil || w.root != nil || w.listed != nil || w.eventless != ""
}

// incomplete says whether anything must be polled.
func (w *watches) incomplete() bool {
	return w.rootPolled() || w.above != nil || len(w.polled) > 0
}

// polledNames returns the daemon dirs that are not watched.
func (w *watches) polledNames() []string {
	names := make([]string, 0, len(w.polled))
	for name := range w.polled {
		names = append(names, name)
	}
	return names
}

// polledCount returns how many of total daemon dirs are polled.
func (w *watches) polledCount(total int) int {
	if w.rootPolled() {
		return total
	}
	return len(w.polled)
}

// cause returns why something is polled, with what to do about it, or nil.
func (w *watches) cause() error {
	err := errors.Join(w.noFSN, w.root, w.listed, w.above)
	if err == nil {
		for _, err = range w.polled {
			break
		}
	}
	switch {
	case err == nil && w.eventless != "":
		return fmt.Errorf("file system %s does not report changes", w.eventless)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("out of watches, raise sysctl fs.inotify.max_user_watches: %w", syscall.ENOSPC)
	case w.noFSN != nil && errors.Is(err, syscall.EMFILE):
		return fmt.Errorf("out of inotify instances or descriptors, raise sysctl fs.inotify.max_user_instances or the limit of open files: %w", err)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return fmt.Errorf("out of descriptors, raise the limit of open files: %w", err)
	}
	return err
}

// limit returns the reason code of [watches.cause].
func (w *watches) limit() string {
	switch err := w.cause(); {
	case errors.Is(err, syscall.ENOSPC):
		return "max_user_watches"
	case w.noFSN != nil && errors.Is(err, syscall.EMFILE):
		return "max_user_instances"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "open_files"
	case errors.Is(err, fs.ErrPermission):
		return "permission"
	case w.eventless != "":
		return "filesystem"
	}
	return "error"
}

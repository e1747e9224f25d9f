package watcher

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"runtimegc/registry/daemondir"

	"github.com/fsnotify/fsnotify"
)

// errMounted is the reason to poll a dir on which a file system is mounted.
var errMounted = errors.New("a file system is mounted on a daemon dir")

// errLook is the reason to poll a dir of which it could not be told what it is.
var errLook = errors.New("looking at a daemon dir failed")

// storedByIndex says how fsnotify stores watches: on Windows under the index of the directory,
// so that Add of one that has come back is no new watch, and its events may bear another name
// (see lost).
const storedByIndex = runtime.GOOS == "windows"

// watches knows what a session watches, and what it polls because it cannot be watched.
type watches struct {
	fsn    *fsnotify.Watcher // nil: see noFSN
	noFSN  error             // why there is no inotify instance
	paths  []string          // see rootPaths
	above  error             // why a directory above the root cannot be watched
	root   error             // why the root itself cannot be watched
	listed error             // why the last scan of the root failed

	rootWatched bool
	eventless   string // the root's file-system type, if it does not report all changes

	// A watch belongs to an inode, but fsnotify stores it under a path. If a dir was renamed
	// and fsnotify has not read that event yet, Add of the new path returns the watch of the
	// old one, and that watch disappears when fsnotify reads the event (145 of 200 renames).
	// So byName has the dir that each watch was found to be on (the zero FileID: not known
	// yet), and byID the reverse.
	byName map[string]daemondir.FileID
	byID   map[daemondir.FileID]string

	byFiles *nameSet // daemon dirs that are not in byName, but watched by their files (see noise.go)

	others map[string]struct{} // the watches of the root and above it, at the last call of lost
	missed map[string]struct{} // what the last call of lost returned, if watches are storedByIndex

	polled map[string]error // daemon dirs that are polled, and why
	full   bool             // no more watches can be added until the next retry
}

func newWatches(fsn *fsnotify.Watcher, err error) *watches {
	return &watches{
		fsn:     fsn,
		noFSN:   err,
		byName:  make(map[string]daemondir.FileID),
		byID:    make(map[daemondir.FileID]string),
		byFiles: new(nameSet),
		polled:  make(map[string]error),
	}
}

// addAbove watches the directories that hold the root and the symlinks that lead to it or,
// if one does not exist, the nearest directory above it. When a root is removed or renamed,
// its own watch is lost, and only these report that it exists again.
func (w *watches) addAbove(paths []string) {
	w.paths, w.above = paths, nil
	if w.fsn == nil {
		return
	}
	for _, rootPath := range paths {
		for dir := nearestDir(filepath.Dir(rootPath)); ; {
			err := w.fsn.Add(dir)
			// A directory made before the watch was added has raised no event, and one that was
			// gone then may be back.
			again := nearestDir(filepath.Dir(rootPath))
			if again == dir && !errors.Is(err, fs.ErrNotExist) {
				w.above = errors.Join(w.above, err)
				break
			}
			dir = again
		}
	}
}

// addRoot watches the root, unless it is watched. That the root does not exist is no error:
// an event reports it.
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

// add watches the daemon dir name, unless it is watched. If it cannot be, it is polled. It
// reports whether there is such a dir, as far as it has looked.
func (w *watches) add(root, name string) (there bool) {
	if _, ok := w.byName[name]; ok {
		delete(w.polled, name) // it was polled because it could not be read
		return true
	}
	w.dropFiles(root, name) // the read that follows finds what happens until then
	if w.fsn == nil || daemondir.Quarantined(name) {
		return true
	}
	if w.full {
		w.polled[name] = syscall.ENOSPC
		return true
	}
	// inotify_add_watch(2) follows a symlink, and asks a mounted file system for permission. If
	// that does not answer, it never returns.
	switch daemondir.Look(root, name) {
	case daemondir.NoDirectory:
		delete(w.polled, name)
		return false
	case daemondir.Unknown:
		w.polled[name] = errLook // even if the read that follows succeeds
		return true
	case daemondir.Mounted:
		w.polled[name] = errMounted
		return true
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
	return true
}

// bind records that the dir that was read as name is id. It returns false if the watch of
// name is on another dir. Then it has removed that watch and the watch of other, the name
// that the dir had before, and both names must be read again. A dir that has two names (a
// bind mount) is watched under one and polled under the other, or both would be read again
// and again.
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
	} else if hasID(root, other, id) {
		w.drop(root, name)
		w.polled[name] = fmt.Errorf("%q and %q are one directory", daemondir.Printable(other), daemondir.Printable(name))
		return "", true
	}
	w.drop(root, other)
	w.drop(root, name)
	return other, false
}

// hasID reports whether the daemon dir name is id now.
func hasID(root, name string, id daemondir.FileID) bool {
	d, err := daemondir.Open(root, name)
	if err != nil {
		return false
	}
	defer d.Close()
	return d.ID() == id
}

// dropUnbound removes the watch of name, which could not be read, unless an earlier read
// has shown which dir it is on: Add may have returned the watch of another name.
func (w *watches) dropUnbound(root, name string) {
	if id, ok := w.byName[name]; ok && id == (daemondir.FileID{}) {
		w.drop(root, name)
	}
}

// drop removes the watches of name, if there are any, and ends its polling.
func (w *watches) drop(root, name string) {
	delete(w.polled, name)
	w.dropFiles(root, name)
	w.dropDir(root, name)
}

// dropDir removes the watch of the dir name, if there is one.
func (w *watches) dropDir(root, name string) {
	id, ok := w.byName[name]
	if !ok {
		return
	}
	// fsnotify 1.10.1 closes a watch's handle again on Windows if Remove comes after an event and
	// before its reader has it (its issue 768). By then it may be the handle of something else of
	// this process, or of Go's runtime. There a watch is stored by the dir's index, so Add finds
	// the right one, and it ends with the dir (ERROR_ACCESS_DENIED) or the session.
	if !storedByIndex {
		// The error can only be that fsnotify or the kernel has removed the watch already,
		// because the dir was removed.
		_ = w.fsn.Remove(filepath.Join(root, name))
	}
	delete(w.byName, name)
	if w.byID[id] == name {
		delete(w.byID, id)
	}
}

// lost drops and returns the daemon dirs in root that have a watch here, but not in fsnotify:
// this happens when dirs are renamed faster than it reads events (see byName), and when
// something that was mounted on one is unmounted. It also reports whether only a new session
// heals: the watch of the root, or of a directory above it, was there at the last call and is no
// longer; or, on Windows, a dir was lost at two calls in a row. That one has been moved out of the
// root and in again under another name, and its events still come under the old one.
func (w *watches) lost(root string) (names []string, rearm bool) {
	if w.fsn == nil {
		return nil, false
	}
	list, n := w.fsn.WatchList(), 0
	if storedByIndex {
		slices.Sort(list)
		list = slices.Compact(list) // one that has moved out may still have the name of another
	}
	others := make(map[string]struct{})
	for _, path := range list {
		rel, inside := strings.CutPrefix(path, root+string(filepath.Separator))
		name, _, isFile := strings.Cut(rel, string(filepath.Separator))
		_, ok := w.byName[name]
		switch {
		case !inside:
			others[path] = struct{}{}
		case isFile && w.byFiles.has(name), !isFile && ok:
			n++
		}
	}
	if n < len(w.byName)+2*len(w.byFiles.all()) {
		names = w.dropUnlisted(root, list)
	}
	for path := range w.others {
		if _, ok := others[path]; !ok {
			rearm = true
		}
	}
	w.others = others
	if storedByIndex {
		missed := make(map[string]struct{}, len(names))
		for _, name := range names {
			missed[name] = struct{}{}
			if _, ok := w.missed[name]; ok {
				rearm = true
			}
		}
		w.missed = missed
	}
	return names, rearm
}

// dropUnlisted drops and returns the daemon dirs whose watches are not all in list.
func (w *watches) dropUnlisted(root string, list []string) (names []string) {
	listed := make(map[string]struct{}, len(list))
	for _, path := range list {
		listed[path] = struct{}{}
	}
	for name := range w.byName {
		if _, ok := listed[filepath.Join(root, name)]; !ok {
			names = append(names, name)
		}
	}
	for _, name := range w.byFiles.all() {
		for _, path := range filesOf(root, name) {
			if _, ok := listed[path]; !ok {
				names = append(names, name)
				break
			}
		}
	}
	for _, name := range names {
		w.drop(root, name)
	}
	return names
}

// retry tries again to watch the directories above the root, if that has failed, and lets
// add ask the kernel again.
func (w *watches) retry() {
	w.full = false
	if w.above != nil {
		w.addAbove(w.paths)
	}
}

// canBegin reports whether the session has no inotify instance, but a new one could.
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

// rootPolled reports whether each poll must read the whole root.
func (w *watches) rootPolled() bool {
	return w.fsn == nil || w.root != nil || w.listed != nil || w.eventless != ""
}

// incomplete reports whether anything must be polled.
func (w *watches) incomplete() bool {
	return w.rootPolled() || w.above != nil || len(w.polled) > 0
}

// canAdd reports whether name has no watch, and the kernel may be asked for one.
func (w *watches) canAdd(name string) bool {
	_, watched := w.byName[name]
	return !watched && w.fsn != nil && !w.full
}

// polledCount returns how many of total daemon dirs are polled.
func (w *watches) polledCount(total int) int {
	if w.rootPolled() {
		return total
	}
	return len(w.polled)
}

// cause returns why something is polled, and what the user can do about it, or nil.
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
	case errors.Is(err, errMounted):
		return "mount_point"
	case w.eventless != "":
		return "filesystem"
	}
	return "error"
}

// networkType is daemondir.NetworkType; where that cannot tell, changes are expected to be
// reported.
func networkType(path string) string {
	name, _ := daemondir.NetworkType(path)
	return name
}

package fsys

import (
	"errors"
	"hash/maphash"
	"io/fs"

	"runtimegc/registry/daemondir"
)

var (
	// ErrReplaced says that a directory is no longer where it was, or that another has its
	// name.
	ErrReplaced = errors.New("it was moved or replaced meanwhile")
	// ErrMounted says that a directory or file is on another device, or a mount point.
	ErrMounted = errors.New("something is mounted there, or it is on another device")
	// ErrTooDeep says that there are more levels of directories than can be dealt with here.
	ErrTooDeep = errors.New("too many directories, each in the last")
)

// maxPath is how much is kept of the path to the current directory, in bytes.
const maxPath = 4096

// A trail is the way from the top of a tree to one directory in it. However long it is,
// only its last maxOpen directories are open, besides the top; of each a level is known,
// which takes 40 bytes. The way back leads through "..", and that is only taken if it is
// the directory which the way led through before.
type trail struct {
	root *Root
	name string // of the top, in root

	top    *dir
	open   []*dir  // the last of the way, but never the top
	levels []level // of the whole way: the first is the top's
	path   []byte  // relative to the top, cut off at maxPath

	unchecked int // how many checks may be left out
}

// A level is what is known of a directory on the way, open or not.
type level struct {
	id      daemondir.FileID
	entered uint64 // hash of the name that was last entered from here
	path    int32  // how much of the path leads here
	next    int64  // of a survey: where reading goes on if it must be opened again
}

var nameSeed = maphash.MakeSeed()

// openTrail returns the trail that consists of d, which stands in the root as name.
func (r *Root) openTrail(d *daemondir.Dir, name string) (*trail, error) {
	if r.buf == nil {
		r.buf = make([]byte, treeBatch)
	}
	top, err := r.openTop(d, name)
	if err != nil {
		return nil, err
	}
	return &trail{root: r, name: name, top: top, levels: []level{{id: top.id}}}, nil
}

func (t *trail) close() {
	for _, d := range t.open {
		d.close()
	}
	t.top.close()
}

// depth is how many directories the current one is below the top.
func (t *trail) depth() int { return len(t.levels) - 1 }

// dir is the current directory.
func (t *trail) dir() *dir {
	if n := len(t.open); n > 0 {
		return t.open[n-1]
	}
	return t.top
}

// level is that of the current directory.
func (t *trail) level() *level { return &t.levels[len(t.levels)-1] }

// enter makes the directory name in the current one the current one. No symlink is
// followed, and what is mounted is not entered.
func (t *trail) enter(name string) error {
	if t.depth() == maxDepth {
		return ErrTooDeep
	}
	d, err := t.dir().open(name)
	if err != nil {
		return err
	}
	if d.id.Dev != t.top.id.Dev {
		d.close()
		return &fs.PathError{Op: "open", Path: name, Err: ErrMounted}
	}
	if len(t.open) == maxOpen {
		t.open[0].close()
		t.open = append(t.open[:0], t.open[1:]...)
	}
	t.open = append(t.open, d)
	t.level().entered = maphash.String(nameSeed, name)
	t.levels = append(t.levels, level{id: d.id, path: int32(len(t.path))})
	t.path = t.appendPath(name)
	return nil
}

// leave makes the directory above the current one the current one. It reports whether
// that had to be opened again, so that it will be read from its start.
func (t *trail) leave() (reopened bool, err error) {
	d, n := t.dir(), t.depth()
	if len(t.open) == 1 && n > 1 {
		up, err := d.parent()
		if err != nil {
			return false, err
		}
		if up.id != t.levels[n-1].id {
			up.close()
			return false, ErrReplaced
		}
		reopened = true
		t.open[0] = up
	} else {
		t.open = t.open[:len(t.open)-1]
	}
	d.close()
	t.path = t.path[:t.levels[n].path]
	t.levels = t.levels[:n]
	return reopened, nil
}

// wasEntered says whether name is what was last entered from the current directory.
func (t *trail) wasEntered(name string) bool {
	return t.level().entered == maphash.String(nameSeed, name)
}

// appendPath returns the path of name in the current directory, or that of the directory
// if there is no room.
func (t *trail) appendPath(name string) []byte {
	if len(t.path)+1+len(name) > maxPath {
		return t.path
	}
	if len(t.path) == 0 {
		return append(t.path, name...)
	}
	return append(append(t.path, '/'), name...)
}

// A dirent is a name in a directory.
type dirent struct {
	name string
	next int64 // where reading goes on after it; only what is opened again needs that
}

// A listing is how far a directory has been read.
type listing struct {
	names   []dirent // that were read and not dropped
	batches int      // read since the start of the directory
	removed int      // names since then

	surveyed bool // a survey has checked whether its content can be removed
}

// peek returns the next name of the directory, until that is dropped, or false at the end.
// The end is where it was read as a whole: what a read returns after a removal is up to the
// file system (readdir(3)), unless it had returned all there is.
func (d *dir) peek() (dirent, bool, error) {
	for len(d.names) == 0 {
		var err error
		if d.names, err = d.read(); err != nil {
			return dirent{}, false, err
		}
		if len(d.names) > 0 {
			d.batches++
			break
		}
		if d.removed == 0 || d.batches <= 1 {
			return dirent{}, false, nil
		}
		if err := d.seek(0); err != nil {
			return dirent{}, false, err
		}
		d.batches, d.removed = 0, 0
	}
	return d.names[0], true, nil
}

// drop goes on to the next name.
func (d *dir) drop() { d.names = d.names[1:] }

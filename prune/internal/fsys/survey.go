package fsys

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"runtimegc/registry/daemondir"
)

// SurveyOptions say what a survey looks for.
type SurveyOptions struct {
	WrittenAfter time.Time              // find what was written later,
	Spawners     func(name string) bool // but for these names in the surveyed directory
	EveryTime    bool                   // do not except those, nor directories
	Sidecar      string                 // the name there that must not be opened
	Bound        func(ino uint64) bool  // is a UNIX socket bound to this file?
}

// A Finding is the first thing that a survey has found; the zero Finding is nothing. It names
// files by their path in the surveyed directory, which may contain any byte.
type Finding struct {
	Obstacle error     // something cannot be removed; an *Obstacle
	Written  string    // this was written after WrittenAfter,
	At       time.Time // at this time
	Open     string    // this file is open elsewhere, or mapped into memory
	Bound    string    // a UNIX socket is bound to this file
}

// An Obstacle is something in a directory that cannot be removed.
type Obstacle struct {
	Path string // in the surveyed directory, which is "."
	Why  error
}

func (o *Obstacle) Error() string { return fmt.Sprintf("%s: %v", daemondir.Printable(o.Path), o.Why) }

// Unwrap returns why.
func (o *Obstacle) Unwrap() error { return o.Why }

var (
	errUnreadable = fmt.Errorf("its content cannot be read: %w", fs.ErrPermission)
	errUnwritable = fmt.Errorf("its content cannot be removed: %w", fs.ErrPermission)
	errReadOnly   = fmt.Errorf("its content cannot be removed: %w", syscall.EROFS)
	errSticky     = fmt.Errorf("it belongs to another user, and its directory is sticky: %w", fs.ErrPermission)
	errImmutable  = fmt.Errorf("it is immutable or append-only: %w", fs.ErrPermission)
)

// facts is what a survey must know of a file.
type facts struct {
	mode    fs.FileMode // the type only
	links   uint64
	foreign bool // it belongs to another user
	fixed   bool // it is immutable or append-only
	mounted bool // something is mounted on it
	ino     uint64
	written time.Time // its modification time
}

// Survey looks at everything in d, the directory name of the root, until it finds something
// that [Tree.Empty] could not remove, that was written too recently, or that is in use. It
// changes nothing, and needs as little memory and as few descriptors as Empty.
//
// A read-only directory of one's own is no obstacle, because Empty makes it writable. A
// directory that cannot be read or searched is one, because nothing is known of its content.
//
// Whether a file is open elsewhere is found out by a lease, which the kernel grants only if
// no process has the file open, in any namespace; see openElsewhere. On Windows it is opened
// for a moment without sharing it, so the spawner's files are left out: the rename tells.
func (r *Root) Survey(d *daemondir.Dir, name string, opts SurveyOptions) (Finding, error) {
	t, err := r.openTrail(d, name)
	if err != nil {
		return Finding{}, err
	}
	defer t.close()
	s := &survey{trail: t, SurveyOptions: opts, noLeases: !r.leases}
	f, err := t.top.facts("")
	switch {
	case err != nil:
		return Finding{}, err
	case f.fixed:
		return s.obstacle("", errImmutable), nil
	case r.readOnly:
		return s.obstacle("", errReadOnly), nil
	case s.EveryTime && f.written.After(s.WrittenAfter):
		return Finding{Written: ".", At: f.written}, nil
	}
	for {
		d := t.dir()
		e, ok, err := d.peek()
		switch {
		case notIfGone(err) != nil:
			return Finding{}, err
		case ok:
			d.drop()
			t.level().next = e.next
			if found, err := s.look(d, e.name); err != nil || found != (Finding{}) {
				return found, err
			}
		case t.depth() == 0:
			return Finding{}, nil
		default:
			reopened, err := t.leave()
			if err == nil && reopened {
				err = t.dir().seek(t.level().next)
			}
			if err != nil {
				return Finding{}, err
			}
		}
	}
}

// survey is the state of a survey.
type survey struct {
	*trail
	SurveyOptions
	noLeases bool // on this file system a lease says nothing
}

// look looks at name in the current directory d. If it is a directory, it becomes the
// current one.
func (s *survey) look(d *dir, name string) (Finding, error) {
	f, err := d.facts(name)
	switch {
	case Gone(err):
		return Finding{}, nil
	case Busy(err):
		return Finding{Open: string(s.appendPath(name))}, nil
	case errors.Is(err, fs.ErrPermission):
		return s.obstacle("", errUnreadable), nil
	case err != nil:
		return Finding{}, err
	}
	// Whether d is writable matters only if there is something in it.
	if !d.surveyed {
		d.surveyed = true
		if err := d.writable(); err != nil {
			return s.obstacle("", err), nil
		}
	}
	switch {
	case f.fixed:
		return s.obstacle(name, errImmutable), nil
	case f.mounted:
		return s.obstacle(name, ErrMounted), nil
	case f.foreign && d.keepsForeign():
		return s.obstacle(name, errSticky), nil
	case f.mode.IsDir() && !(s.EveryTime && f.written.After(s.WrittenAfter)):
		return s.descend(name)
	case f.mode == fs.ModeSocket && s.Bound(f.ino):
		return Finding{Bound: string(s.appendPath(name))}, nil
	case f.written.After(s.WrittenAfter) && (s.EveryTime || s.depth() > 0 || !s.Spawners(name)):
		return Finding{Written: string(s.appendPath(name)), At: f.written}, nil
	case !f.mode.IsRegular() || f.links > 1 || s.noLeases:
		return Finding{}, nil
	case s.depth() == 0 && (name == s.Sidecar || sparesSpawners && s.Spawners(name)):
		return Finding{}, nil
	}
	open, err := d.openElsewhere(name)
	switch {
	case err == errNoLeases:
		s.noLeases = true
	case err != nil:
		return Finding{}, err
	case open:
		return Finding{Open: string(s.appendPath(name))}, nil
	}
	return Finding{}, nil
}

// descend enters the directory name.
func (s *survey) descend(name string) (Finding, error) {
	err := s.enter(name)
	switch {
	case err == nil, Gone(err):
		return Finding{}, nil
	case errors.Is(err, fs.ErrPermission):
		return s.obstacle(name, errUnreadable), nil
	case errors.Is(err, ErrMounted):
		return s.obstacle(name, ErrMounted), nil
	case errors.Is(err, ErrTooDeep):
		return s.obstacle(name, ErrTooDeep), nil
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP):
		return Finding{}, ErrReplaced
	}
	return Finding{}, err
}

// obstacle returns the finding that name in the current directory cannot be removed; an
// empty name is that directory.
func (s *survey) obstacle(name string, why error) Finding {
	path := s.path
	if name != "" {
		path = s.appendPath(name)
	}
	if len(path) == 0 {
		path = []byte(".")
	}
	return Finding{Obstacle: &Obstacle{string(path), why}}
}

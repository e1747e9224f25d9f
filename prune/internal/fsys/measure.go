package fsys

import (
	"errors"

	"runtimegc/registry/daemondir"
)

// Measure counts what the removal of d, the directory name of the root, would free, itself
// included. It changes nothing. No symlink is followed, and what is mounted is not entered.
// A file that has another link, be it in d as well, counts no bytes. The error is that of the
// first directory that cannot be read; what is gone meanwhile is no error.
func (r *Root) Measure(d *daemondir.Dir, name string) (Freed, error) {
	t, err := r.openTrail(d, name)
	if err != nil {
		return Freed{}, err
	}
	defer t.close()
	sum := Freed{Files: 1}
	for {
		d := t.dir()
		e, ok, err := d.peek()
		switch {
		case notIfGone(err) != nil:
			return Freed{}, err
		case ok:
			d.drop()
			t.level().next = e.next
			f, err := d.stat(e.name)
			if err == nil {
				sum.Files++
				sum.Bytes += f.bytes
				if f.dir {
					err = t.enter(e.name)
				}
			}
			if err != nil && !Gone(err) && !errors.Is(err, ErrMounted) {
				return Freed{}, err
			}
		case t.depth() == 0:
			return sum, nil
		default:
			reopened, err := t.leave()
			if err == nil && reopened {
				err = t.dir().seek(t.level().next)
			}
			if err != nil {
				return Freed{}, err
			}
		}
	}
}

package prune

import (
	"runtimegc/prune/internal/fsys"
)

// Measure sets Bytes of r. It walks through its dir, and changes nothing. Bytes stays nil if
// the dir cannot be read or is gone. The error is that of the root.
func (p *Planner) Measure(r *Row) (err error) {
	if p.root == nil {
		if p.root, err = fsys.OpenRoot(p.worker.root); err != nil {
			return err
		}
	}
	if freed, err := measure(p.root, r.Name); err == nil {
		r.Bytes = &freed.Bytes
	}
	return nil
}

func measure(root *fsys.Root, name string) (fsys.Freed, error) {
	d, err := root.Open(name)
	if err != nil {
		return fsys.Freed{}, err
	}
	defer d.Close()
	return root.Measure(d, name)
}

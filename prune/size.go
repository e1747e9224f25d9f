package prune

import (
	"context"

	"runtimegc/prune/internal/fsys"
)

// Measure sets Bytes of those rows that want accepts. It walks through each of their dirs,
// changes nothing, and may be called while Run runs. Bytes stays nil where the dir cannot be
// read or is gone, and where ctx was done before. The error is that of the root.
func (c *Collector) Measure(ctx context.Context, rows []Row, want func(Row) bool) error {
	var root *fsys.Root
	for i := range rows {
		if ctx.Err() != nil {
			break
		}
		if !want(rows[i]) {
			continue
		}
		if root == nil {
			var err error
			if root, err = fsys.OpenRoot(c.root); err != nil {
				return err
			}
			defer root.Close()
		}
		if freed, err := measure(root, rows[i].Name); err == nil {
			rows[i].Bytes = &freed.Bytes
		}
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

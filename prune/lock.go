package prune

import (
	"errors"
	"fmt"
	"os"

	"runtimegc/registry/daemondir"
)

// Lock makes this process the only collector of root: it takes a flock(2) on the root
// directory itself, so no file is left behind and the kernel gives it back whatever
// becomes of us. The error says who holds it, where the system tells.
func Lock(root string) (release func(), err error) {
	dir, err := os.Open(root)
	if err != nil {
		return nil, fmt.Errorf("locking root: %w", err)
	}
	if err := flock(int(dir.Fd())); err != nil {
		holder := ""
		if errors.Is(err, errLocked) {
			holder = lockHolder(dir)
		}
		dir.Close()
		if holder != "" {
			return nil, fmt.Errorf("root %q is served by another collector: %s", daemondir.Printable(root), holder)
		}
		return nil, fmt.Errorf("locking root %q: %w", daemondir.Printable(root), err)
	}
	return func() { dir.Close() }, nil
}

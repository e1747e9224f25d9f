package watcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
)

// ScanDir fills reg with the one daemon dir name of root, once, without watching. The
// error is fs.ErrNotExist if there is no such directory, or says why it cannot be read.
func ScanDir(ctx context.Context, root, name string, reg *registry.Registry) error {
	// Nothing that leads out of the root, or deeper into it.
	if name == "." || name == ".." || name != filepath.Base(name) || !filepath.IsLocal(name) {
		return fmt.Errorf("%q in root: %w", name, fs.ErrNotExist)
	}
	for ctx.Err() == nil {
		e, err := daemondir.Read(root, name)
		if errors.Is(err, daemondir.ErrBusy) {
			time.Sleep(busyRetry)
			continue
		}
		if err == nil {
			reg.Put(e)
		}
		return err
	}
	return ctx.Err()
}

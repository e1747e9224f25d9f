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

// ScanDir is [Scan] of the one daemon dir name. The error is fs.ErrNotExist if there is no
// such directory, or says why it cannot be read.
func ScanDir(ctx context.Context, reg *registry.Registry, name string) error {
	// Nothing that leads out of the root, or deeper into it.
	if name == "." || name == ".." || name != filepath.Base(name) || !filepath.IsLocal(name) {
		return fmt.Errorf("%q in root: %w", name, fs.ErrNotExist)
	}
	w, err := reg.Write()
	if err != nil {
		return err
	}
	defer w.Close()
	for ctx.Err() == nil {
		e, err := daemondir.Read(reg.Root(), name)
		if errors.Is(err, daemondir.ErrBusy) {
			time.Sleep(busyRetry)
			continue
		}
		if err == nil {
			w.Put(e, time.Time{})
		}
		return err
	}
	return ctx.Err()
}

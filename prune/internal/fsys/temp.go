package fsys

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"runtimegc/registry/daemondir"
)

// tempAge is how long ago a temporary file must have been written to be one that a crash has
// left: [Replace] takes milliseconds, and a collector on another host may be at it just now.
const tempAge = time.Minute

// RemoveTemps removes the temporary files that an interrupted [Replace] has left in the daemon
// dirs of the root at path, as of now. Each holds a daemon's environment. Where leases can be
// had, nothing is replaced, so it does not look. It is a precaution and returns no error: what
// cannot be removed now is removed by the next Replace, or with the dir.
func RemoveTemps(ctx context.Context, path string, now time.Time) {
	root, err := daemondir.OpenShared(path)
	if err != nil {
		return
	}
	defer root.Close()
	dir, err := root.Open(".")
	if err != nil {
		return
	}
	defer dir.Close()
	if _, leases := mountFlags(dir); HasLeases && leases {
		return
	}
	for ctx.Err() == nil {
		names, err := dir.Readdirnames(100)
		for _, name := range names {
			removeTemp(root, filepath.Join(name, tempName), now)
		}
		if errors.Is(err, io.EOF) || len(names) == 0 {
			return
		}
	}
}

func removeTemp(root *os.Root, name string, now time.Time) {
	info, err := root.Lstat(name)
	if err == nil && info.Mode().IsRegular() && now.Sub(info.ModTime()) > tempAge {
		_ = daemondir.RemoveIn(root, name)
	}
}

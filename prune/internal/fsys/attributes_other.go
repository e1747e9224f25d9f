//go:build !linux && !darwin && !freebsd

package fsys

import (
	"os"

	"runtimegc/registry/daemondir"
)

// keepAttributes keeps none here: access control lists and extended attributes are lost.
func keepAttributes(*os.File, *daemondir.File) error { return nil }

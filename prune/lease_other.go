//go:build !linux || portable

package prune

import (
	"errors"

	"runtimegc/registry/daemondir"
)

var (
	errOpenElsewhere = errors.New("the sidecar is open elsewhere")
	errNoLeases      = errors.New("no leases on this system")
)

func takeLease(*daemondir.File) error { return errNoLeases }

func leaseHeld(*daemondir.File) bool { return false }

// patch is only called under a lease.
func patch(*daemondir.File, []byte, []byte, int) error { return errNoLeases }

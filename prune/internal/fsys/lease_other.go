//go:build !linux || portable

package fsys

import (
	"errors"

	"runtimegc/registry/daemondir"
)

var (
	ErrOpenElsewhere = errors.New("the sidecar is open elsewhere")
	ErrNoLeases      = errors.New("no leases on this system")
)

// TakeLease returns ErrNoLeases.
func TakeLease(*daemondir.File) error { return ErrNoLeases }

// LeaseHeld returns false.
func LeaseHeld(*daemondir.File) bool { return false }

// Patch is called only under a lease.
func Patch(*daemondir.File, []byte, []byte, int) error { return ErrNoLeases }

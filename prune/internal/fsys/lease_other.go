//go:build (!linux && !windows) || portable

package fsys

import (
	"errors"

	"runtimegc/registry/daemondir"
)

// HasLeases says that a lease shows whether anybody has a file open.
const HasLeases = false

var (
	ErrOpenElsewhere = errors.New("the sidecar is open elsewhere")
	ErrNoLeases      = errors.New("no leases on this system")
)

// TakeLease returns ErrNoLeases.
func TakeLease(*daemondir.File) error { return ErrNoLeases }

// LeaseHeld returns false.
func LeaseHeld(*daemondir.File) bool { return false }

// BrokenByReader returns false.
func BrokenByReader(*daemondir.File) bool { return false }

// Patch is called only under a lease.
func Patch(*daemondir.File, []byte, []byte, int) error { return ErrNoLeases }

// OpenElsewhere cannot tell, and returns false.
func OpenElsewhere(string) (bool, error) { return false, nil }

// Busy reports whether err says that a file is being written.
func Busy(err error) bool { return errors.Is(err, daemondir.ErrBusy) }

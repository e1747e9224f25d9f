package fsys

import "errors"

const nonblock = 0 // there are no FIFOs in directories

// ErrLocked is never returned here.
var ErrLocked = errors.New("locked")

// Flock does nothing: Windows has no locks on directories.
func Flock(int) error { return nil }

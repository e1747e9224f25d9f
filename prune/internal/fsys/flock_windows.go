package fsys

import (
	"errors"
	"os"
)

const nonblock = 0 // there are no FIFOs in directories

// ErrLocked is never returned here.
var ErrLocked = errors.New("locked")

// Flock does nothing: Windows has no locks on directories.
func Flock(int) error { return nil }

// A RootLock is an open root.
type RootLock struct{ dir *os.File }

// OpenLock opens the directory root.
func OpenLock(root string) (*RootLock, error) {
	dir, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	return &RootLock{dir}, nil
}

// Take does nothing.
func (l *RootLock) Take() error { return nil }

// Close closes the root.
func (l *RootLock) Close() { l.dir.Close() }

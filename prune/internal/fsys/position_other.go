//go:build !linux || portable

package fsys

import (
	"os"

	"runtimegc/registry/daemondir"
)

// A Position is where a root stood at a moment. On this system only that is known: not
// whether the root was away meanwhile.
type Position struct{}

// Position returns where the root stands. The error is [ErrReplaced] if its path leads to
// something else by now.
func (r *Root) Position() (Position, error) {
	there, err := os.Lstat(r.real)
	switch {
	case Gone(err):
		return Position{}, ErrReplaced
	case err != nil:
		return Position{}, err
	}
	here, err := r.root.Stat(".")
	if err == nil && !os.SameFile(here, there) {
		err = ErrReplaced
	}
	return Position{}, err
}

// Stayed returns [ErrReplaced] if the root is not where it was.
func (r *Root) Stayed(Position) error {
	_, err := r.Position()
	return err
}

// StoodAt reports whether the directory id has the name in the root.
func (r *Root) StoodAt(name string, id daemondir.FileID, _ Position) (bool, error) {
	now, err := r.ID(name)
	return err == nil && now == id, err
}

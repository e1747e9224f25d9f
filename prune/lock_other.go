//go:build !linux || portable

package prune

import (
	"errors"
	"os"
)

// lockHolder cannot tell who: there is no table of locks here.
func lockHolder(*os.File) string { return "another process" }

// flocks cannot tell here.
func flocks(*os.File) (map[uint64]string, error) {
	return nil, errors.New("this system has no table of locks")
}

//go:build !linux || portable

package fsys

import (
	"errors"
	"os"
)

// Holder cannot tell who: there is no table of locks here.
func Holder(*os.File) string { return "another process" }

// Locks cannot tell here.
func Locks(*os.File) (map[uint64]string, error) {
	return nil, errors.New("this system has no table of locks")
}

//go:build !linux || portable

package fsys

import (
	"errors"
	"os"
)

// Holder cannot say more: this system has no table of locks.
func Holder(*os.File) string { return "another process" }

// Locks returns an error.
func Locks(*os.File) (map[uint64]string, error) {
	return nil, errors.New("this system has no table of locks")
}

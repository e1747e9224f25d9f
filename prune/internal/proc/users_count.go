//go:build (linux && !portable) || windows

package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"runtimegc/registry/daemondir"
)

// count takes the errors of looking into one process: it may have exited, or belong to
// another user, or not answer. It returns one that is ours.
func (u *Users) count(pid int32, errs ...error) error {
	unreadable := false
	for _, err := range errs {
		switch {
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM):
			return fmt.Errorf("asking what pid %d uses: %w", pid, err)
		case errors.Is(err, fs.ErrPermission), errors.Is(err, daemondir.ErrNoAnswer):
			unreadable = true
		}
	}
	if unreadable {
		u.Unreadable++
	}
	return nil
}

//go:build portable || !(linux || windows || darwin || freebsd)

package proc

import "errors"

// A waiter cannot be had here.
type waiter struct{}

// newWaiter returns an error: exits must be looked for.
func newWaiter() (*waiter, error) { return nil, errors.ErrUnsupported }

func (*waiter) add(Handle) bool        { return false }
func (*waiter) remove(Handle)          {}
func (*waiter) hasRoom() bool          { return false }
func (*waiter) wait() ([]Handle, bool) { return nil, false }
func (*waiter) close()                 {}

// openHandle has none to open.
func openHandle(uint32) Handle { return NoHandle }

// Exited is for handles, and there are none.
func (Handle) Exited() (exited, zombie bool) { return false, false }

// Close has nothing to let go of.
func (Handle) Close() {}

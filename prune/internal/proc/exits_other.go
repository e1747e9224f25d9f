//go:build !linux || portable

package proc

import "errors"

// Exits announces nothing here.
type Exits struct{}

// NewExits returns an error: exits must be looked for.
func NewExits() (*Exits, error) { return nil, errors.ErrUnsupported }

// Add has no room for any.
func (*Exits) Add(Handle, string) bool { return false }

// Remove has nothing to forget.
func (*Exits) Remove(Handle) {}

// HasRoom is not needed.
func (*Exits) HasRoom() bool { return false }

// Announced yields nothing.
func (*Exits) Announced() <-chan Exit { return nil }

// Run returns at once.
func (*Exits) Run() {}

// Close has nothing to end.
func (*Exits) Close() {}

//go:build !linux || portable

package prune

import "errors"

// exits announces nothing here: the sweep finds the exits.
type exits struct{ c chan exit }

func newExits() (*exits, error) { return nil, errors.ErrUnsupported }

func (x *exits) room() bool            { return false }
func (x *exits) add(int, string) error { return errors.ErrUnsupported }
func (x *exits) remove(int)            {}
func (x *exits) run()                  {}
func (x *exits) close()                {}

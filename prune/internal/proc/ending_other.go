//go:build (!linux && !windows) || portable

package proc

// awaitReaped does not wait: nothing is known after that which is not known before.
func awaitReaped([]Handle) {}

// Ending returns nil: it is not known here how other processes end.
func (Handle) Ending() *Ending { return nil }

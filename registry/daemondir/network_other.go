//go:build !linux || portable

package daemondir

// NetworkType cannot tell on this system: do not use a network share as a runtime root.
func NetworkType(string) (string, error) { return "", nil }

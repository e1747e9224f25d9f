//go:build !linux || portable

package watcher

// eventlessType cannot tell on this system: do not use a network share as a runtime root.
func eventlessType(string) string { return "" }

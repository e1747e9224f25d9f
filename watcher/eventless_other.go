//go:build !linux || portable

package watcher

// eventlessType is not known here: network shares must be avoided as runtime roots.
func eventlessType(string) string { return "" }

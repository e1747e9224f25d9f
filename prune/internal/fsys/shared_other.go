//go:build !linux || portable

package fsys

// Shared cannot tell on this system: it finds no file system that other hosts have mounted.
func Shared(string) (string, error) { return "", nil }

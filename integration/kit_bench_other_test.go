//go:build !linux

package integration

// runBare is for Linux.
func runBare() bool { return false }

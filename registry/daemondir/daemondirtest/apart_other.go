//go:build !linux

package daemondirtest

// apart does nothing: no test mounts anything there.
func apart() {}

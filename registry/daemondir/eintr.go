//go:build unix

package daemondir

import "syscall"

// IgnoringEINTR repeats a system call while signals interrupt it: Go's runtime preempts
// goroutines with signals, and package unix returns the EINTR that they cause.
func IgnoringEINTR[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if err != syscall.EINTR {
			return v, err
		}
	}
}

//go:build unix

package daemondir

import "syscall"

// IgnoringEINTR makes a system call again for as long as a signal interrupts it: Go's
// runtime preempts goroutines by signals, and package unix hands their EINTR on.
func IgnoringEINTR[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if err != syscall.EINTR {
			return v, err
		}
	}
}

//go:build unix

package main

import (
	"os"
	"syscall"
)

// sweepSignals make a watch sweep all its roots.
var sweepSignals = []os.Signal{syscall.SIGUSR1}

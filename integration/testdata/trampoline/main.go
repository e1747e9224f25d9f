// Trampoline is the program of a daemon, as little as can be: it waits to be killed. The tests'
// own binary could do that, and takes ten times as long to start under the race detector.
package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if os.Getenv("GCTEST_TRAMPOLINE") == "ignore-term" {
		signal.Ignore(syscall.SIGTERM, os.Interrupt)
	}
	for {
		time.Sleep(time.Hour)
	}
}

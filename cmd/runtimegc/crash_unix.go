//go:build unix

package main

import (
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// prepareCrash makes a crash (a panic, a fatal error of Go's runtime, the SIGABRT of systemd's
// watchdog) end by the signal SIGABRT, after the traces on stderr. By default Go exits with 2,
// the code of wrong usage, after which systemd does not restart the service.
//
// There is no core dump: it would hold sidecars, and so the environments of daemons. The limit
// is used rather than PR_SET_DUMPABLE, which would keep other programs of the same user,
// another runtimegc among them, from inspecting this one.
func prepareCrash() {
	var none unix.Rlimit
	if runtime.GOOS == "linux" {
		// If core dumps are piped to a program, Linux ignores every limit, 0 too, but 1:
		// do_coredump() in fs/coredump.c. No core file is that small.
		none = unix.Rlimit{Cur: 1, Max: 1}
	}
	err := unix.Setrlimit(unix.RLIMIT_CORE, &none)
	if err != nil { // the limit was 0, and only root may raise it
		err = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	}
	if err == nil {
		debug.SetTraceback("crash")
	}
}

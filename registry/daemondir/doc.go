// Package daemondir knows what a daemon dir is on disk.
//
// A daemon dir stands directly under the runtime root and is named after its daemon:
//
//	<root>/<name>/
//	    <name>               the trampoline: the daemon's process (<name>.exe on Windows)
//	    <name>.daemon.json   the sidecar
//	    daemon.pid           the trampoline's pid, decimal
//
// The package reads one such dir into an [Entry] (see [Read] and [Dir]) and parses the
// two files by the rule of the original collector (see [ParseSidecar] and [ParsePID]).
//
// A sidecar holds the daemon's whole environment: nothing of its content but the two
// timestamps leaves this package, not even in an error.
//
//	entry.go          what was read of one dir: entry, problem, stamp, identity
//	dir.go            reading a dir; the system calls are in dir_linux.go and dir_other.go
//	sidecar.go        the sidecar as text; json.go: the scanner that finds the timestamps
//	pid.go            the pid file as text
//	root.go           the default runtime root, and what may not be one
//	printable.go      names as they may be printed
//	identify_*.go     which file is which
package daemondir

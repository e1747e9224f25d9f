// Package registry knows what a daemon dir means and keeps the map of them.
//
// A daemon dir stands directly under the runtime root and is named after its
// daemon:
//
//	<root>/<name>/
//	    <name>               the trampoline: the daemon's process (<name>.exe on Windows)
//	    <name>.daemon.json   the sidecar
//	    daemon.pid           the trampoline's pid, decimal
//
// The package reads one such dir into an [Entry] (see [Read] and [Dir]), parses
// the two files by the rule of the original collector (see [ParseSidecar] and
// [ParsePID]), and keeps entries in a [Registry], which also remembers the names
// whose entries changed.
//
// It has no goroutine, no clock and no logger, and imports the standard library
// only. A sidecar holds the daemon's whole environment: nothing of its content
// but the two timestamps leaves this package, not even in an error.
package registry

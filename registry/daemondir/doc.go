// Package daemondir knows what a daemon dir is on disk.
//
// A daemon dir is directly in the runtime root, and has the name of its daemon:
//
//	<root>/<name>/
//	    <name>               the trampoline: the daemon's process (<name>.exe on Windows)
//	    <name>.daemon.json   the sidecar
//	    daemon.pid           the trampoline's pid, decimal
//
// The package reads one such dir into an [Entry] (see [Read] and [Dir]) and parses the two
// files as the original collector does (see [ParseSidecar] and [ParsePID]).
//
// A sidecar holds the daemon's whole environment. Only its text as a whole (for a refresh)
// and its two timestamps leave this package; no error quotes it.
//
//	entry.go       what was read of one dir: entry, problem, stamp, identity
//	dir.go         reading a dir; the system calls are in dir_{linux,windows,other}.go, and
//	               in openroot_other.go where an open root is no more than its path
//	sidecar.go     the text of a sidecar; json.go: the scanner that finds the timestamps
//	pid.go         the text of a pid file
//	root.go        the default runtime root, and directories that are refused
//	protect.go     the mark that protects a dir from removal
//	printable.go   escaping names for output
//	identify_*.go  the identity of a file
//	shared_*.go    opening and removing what others may rename or remove meanwhile
//	network_*.go   file systems that other machines change
package daemondir

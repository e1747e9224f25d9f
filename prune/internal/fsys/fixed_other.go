//go:build (!linux && !darwin && !freebsd) || (linux && portable)

package fsys

import "io/fs"

// fixed reports that a file is not known to be immutable.
func fixed(fs.FileInfo) bool { return false }

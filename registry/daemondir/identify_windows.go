package daemondir

import "io/fs"

// Identify returns the identity of the directory or file that info describes. It is
// unknown here: asking for the file index takes a handle of its own each time.
func Identify(fs.FileInfo) FileID { return FileID{} }

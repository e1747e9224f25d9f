//go:build !linux || portable

package fsys

// portable says that what is under test is the code for systems other than Linux.
const portable = true

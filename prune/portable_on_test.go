//go:build !linux || portable

package prune

// portable says that what is under test is the code for systems other than Linux.
const portable = true

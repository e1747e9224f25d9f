//go:build !linux

package integration

import "io/fs"

// inode is not asked for here.
func inode(fs.FileInfo) uint64 { return 0 }

// runBare and runUser are for Linux.
func runBare() bool { return false }
func runUser() bool { return false }

// runInNamespace is for Linux.
func runInNamespace() bool { return false }

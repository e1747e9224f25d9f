// Package registry is the map of daemon dirs, and the place where the watcher, which
// fills it, and its readers meet. What a daemon dir is on disk is package daemondir's.
//
// It has no goroutine, no clock and no logger, and imports the standard library only.
package registry

//go:build linux && !portable

package prune

const portable = false

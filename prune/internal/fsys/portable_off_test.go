//go:build linux && !portable

package fsys

const portable = false

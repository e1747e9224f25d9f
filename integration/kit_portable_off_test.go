//go:build !portable

package integration

const portable = false

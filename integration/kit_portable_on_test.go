//go:build portable

package integration

// portable is whether the program under test is the one for other systems, on Linux.
const portable = true

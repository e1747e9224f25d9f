//go:build !linux || portable

package proc

import "github.com/shirou/gopsutil/v3/process"

// openFiles returns nothing: gopsutil has no answer on macOS and the BSDs, and on
// Windows one that can hang; there the system itself refuses to rename a directory
// with open files.
func openFiles(*process.Process) ([]string, error) { return nil, nil }

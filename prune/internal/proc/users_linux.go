//go:build !portable

package proc

import "github.com/shirou/gopsutil/v3/process"

// openFiles returns the paths of what p has open.
func openFiles(p *process.Process) ([]string, error) {
	files, err := p.OpenFiles()
	paths := make([]string, len(files))
	for i, f := range files {
		paths[i] = f.Path
	}
	return paths, err
}

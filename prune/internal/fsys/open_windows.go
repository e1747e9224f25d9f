package fsys

import "path/filepath"

// tellsOpen says whether it can be told that a file is open elsewhere.
const tellsOpen = true

// sparesSpawners says whether that would refuse a spawner who comes meanwhile.
const sparesSpawners = true

// openElsewhere reports whether a process has the file name in d open; see [OpenElsewhere].
func (d *dir) openElsewhere(name string) (bool, error) {
	return OpenElsewhere(filepath.Join(d.root.Name(), name))
}

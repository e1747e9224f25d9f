//go:build (!linux && !windows) || portable

package fsys

// tellsOpen says whether it can be told that a file is open elsewhere.
const tellsOpen = false

// sparesSpawners says whether that would refuse a spawner who comes meanwhile.
const sparesSpawners = false

// openElsewhere returns errNoLeases.
func (d *dir) openElsewhere(string) (bool, error) { return false, errNoLeases }

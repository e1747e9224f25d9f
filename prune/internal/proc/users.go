package proc

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/shirou/gopsutil/v3/process"
)

// A Use is one process's use of a directory.
type Use struct {
	PID int32  // 0: of a process that we may not look into
	How string // "its working directory"
}

// String says it in words.
func (u Use) String() string {
	if u.PID == 0 {
		return "a process that cannot be inspected has " + u.How + " in it"
	}
	return fmt.Sprintf("pid %d has %s in it", u.PID, u.How)
}

// Users says which directories of a root are used by a process. It is one pass over the
// process table. What counts is a process's program and its working directory, and, but on
// Windows, its root directory, what it has open or mapped, and sockets that are bound there; on
// Linux under whatever path and in whatever namespace it sees them.
type Users struct {
	root    string
	byName  map[string]Use // the directory's name
	sockets map[uint32]Use // the number of the file that a socket is bound to

	spellings func(name string) []string // how byName may spell a name; nil: as it is

	Unreadable int // processes of other users that we may not look into, or that do not answer
}

// FindUsers takes the pass. root is free of symlinks, as the kernel names files. A process
// that exits meanwhile uses nothing. The error is one of ours, such as a lack of
// descriptors or of lsof: then nothing is known.
func FindUsers(root string) (Users, error) {
	u := Users{root: root, byName: make(map[string]Use), sockets: make(map[uint32]Use)}
	pids, err := process.Pids()
	if err == nil {
		err = u.look(pids)
	}
	if err != nil {
		return u, fmt.Errorf("reading the process table: %w", err)
	}
	return u, nil
}

// Of returns a use of the directory name of the root, if there is one.
func (u Users) Of(name string) (Use, bool) {
	if u.spellings == nil {
		use, used := u.byName[name]
		return use, used
	}
	for _, name := range u.spellings(name) {
		if use, used := u.byName[name]; used {
			return use, true
		}
	}
	return Use{}, false
}

// OfSocket returns a process that has a socket bound to the file of that number, by which
// stat(2) calls it, on the file system of the root. It may be a file of that number on
// another subvolume.
func (u Users) OfSocket(ino uint64) (Use, bool) {
	use, used := u.sockets[uint32(ino)]
	return use, used
}

// note notes a use of what lies at rel below the root.
func (u *Users) note(rel string, use Use) {
	name, _, _ := strings.Cut(rel, string(filepath.Separator))
	// A directory that was removed is shown as "<path> (deleted)": it is not the one that
	// stands there now, if one does.
	if _, known := u.byName[name]; !known && name != "" {
		u.byName[name] = use
	}
}

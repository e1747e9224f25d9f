package proc

import (
	"errors"
	"os"
)

// errForeign says that what /proc tells of a pid is about another process than the one that
// has this pid here.
var errForeign = errors.New("no process can be identified: /proc belongs to another pid namespace")

// Foreign returns why nothing can be told of any pid: /proc belongs to another pid namespace,
// as in a new namespace whose /proc was not mounted again, or there is none. It returns nil if
// /proc belongs to ours. It opens one file.
func Foreign() error { return foreign("/proc", os.Getpid()) }

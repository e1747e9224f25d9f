package prune

// Dirs that are put back. The watcher sees such a dir go and return, and in between the
// registry may have no entry of it.

import (
	"os"
	"time"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir"
)

// recheckDelay is how long to wait before checking again what the watcher should have seen by
// then.
const recheckDelay = time.Second

// A leftover is a quarantined dir that an interrupted removal left behind.
type leftover struct {
	kept Reason  // as logged
	was  *daemon // what was known of it before; nil: an earlier run left it
}

// awaitReturn notes that the dir name was put back. Until the watcher must have seen that, the
// dir is not gone just because it has no entry.
func (o *observer) awaitReturn(name string) {
	o.returning[name] = struct{}{}
	o.recheck.Reset(recheckDelay)
}

// returns reports whether the dir name, which has no entry, was put back, and is there.
func (o *observer) returns(name string) bool {
	if _, ok := o.returning[name]; !ok {
		return false
	}
	info, err := os.Lstat(o.path(name))
	if err != nil {
		return !fsys.Gone(err)
	}
	return info.IsDir()
}

// checkReturned forgets those dirs that were put back and have an entry again, or are gone,
// which it logs.
func (o *observer) checkReturned() {
	for name := range o.returning {
		if _, ok := o.reg.Get(name); !ok {
			if o.returns(name) {
				o.recheck.Reset(recheckDelay)
				continue
			}
			o.observe(name, entryChanged)
		}
		delete(o.returning, name)
	}
}

// reinstate brings back what was known of the dir name, before a removal hid it that left it
// behind as e. If that was an earlier run, the daemon has not exited just now.
func (o *observer) reinstate(name string, left leftover, e daemondir.Entry) {
	d := left.was
	if d == nil {
		d = &daemon{dir: e.Dir, probedPID: e.PID}
	}
	d.process, d.invalid = noProcess, false
	delete(o.removed, name)
	if _, known := o.daemons[name]; !known {
		o.daemons[name] = d
	}
	o.awaitReturn(name)
}

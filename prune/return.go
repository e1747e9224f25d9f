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
	kept     Reason  // as logged
	was      *daemon // what was known of it before; nil: an earlier run left it
	replaced bool    // another daemon dir has its name, or has had it since
}

// awaitReturn notes that the dir name was put back. Until checkReturned it is not gone just
// because it has no entry.
func (o *observer) awaitReturn(name string) {
	o.returning[name] = struct{}{}
	o.recheck.Reset(recheckDelay)
}

// checkReturned ends the wait for the dirs that have an entry again by now, and for those that
// are gone after all, which it logs. Those that are there without an entry it awaits further.
func (o *observer) checkReturned() {
	for name := range o.returning {
		if _, ok := o.reg.Get(name); !ok {
			if info, err := os.Lstat(o.path(name)); err == nil && info.IsDir() || err != nil && !fsys.Gone(err) {
				o.recheck.Reset(recheckDelay)
				continue
			}
		}
		delete(o.returning, name)
		o.observe(name, entryChanged)
	}
}

// forgetLeftover drops a leftover that another process has removed or given another name. So what it
// was before is gone, unless another dir has its place.
func (o *observer) forgetLeftover(hidden string) {
	if was := o.leftovers[hidden].was; was != nil && was.added {
		o.logGone(nameOf(hidden))
	}
	delete(o.leftovers, hidden)
}

// replaces notes that the dir of d, which has got its sidecar, replaces one that a removal has
// hidden, if it does. It reports whether the log has said daemon.added of that: as it has not said
// since that this is gone, for its reader d is a respawn.
func (o *observer) replaces(name string, d *daemon) bool {
	hidden := daemondir.QuarantinePrefix + name
	left, ok := o.leftovers[hidden]
	if !ok {
		return false
	}
	left.replaced = true
	o.leftovers[hidden] = left
	if left.was == nil || !left.was.added {
		return false
	}
	d.lastPID = left.was.lastPID
	left.was.added = false // it can return only after d is gone
	return true
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

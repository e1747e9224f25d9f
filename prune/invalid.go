package prune

// Invalid sidecars are logged when they have not changed for a while.

import (
	"time"

	"runtimegc/registry/daemondir"
)

// debounceDelay is how long an invalid sidecar must stay the same before it is logged: a
// spawner truncates and writes it in two steps, and the first already raises an event.
const debounceDelay = time.Second

// invalidSidecar is an invalid sidecar that is not logged yet.
type invalidSidecar struct {
	mark  daemondir.Stamp // see invalidMark
	since time.Time       // when this mark was first seen
}

// invalidMark identifies an invalid sidecar: by its stamp or, if the dir could not be read
// and there is none, by the problem.
func invalidMark(e daemondir.Entry) daemondir.Stamp {
	if e.Sidecar == (daemondir.Stamp{}) {
		return daemondir.Stamp{Size: -1 - int64(e.Problem)}
	}
	return e.Sidecar
}

// usable reports whether the sidecar of e is valid, or missing: a dir without one is not a
// daemon's, and need not be logged.
func usable(e daemondir.Entry) bool {
	return e.Problem == daemondir.ProblemNone || e.Problem == daemondir.ProblemNoSidecar
}

// noteInvalid records an invalid sidecar, for logInvalids.
func (o *observer) noteInvalid(name string, d *daemon, e daemondir.Entry) {
	if usable(e) {
		delete(o.invalids, name)
		if d.lastLogged != nil {
			d.lastLogged.invalid = daemondir.Stamp{} // a problem without a stamp may come back
		}
		return
	}
	mark := invalidMark(e)
	if d.last().invalid == mark || o.invalids[name].mark == mark {
		return
	}
	if len(o.invalids) == 0 {
		o.debounce.Reset(debounceDelay)
	}
	o.invalids[name] = invalidSidecar{mark: mark, since: time.Now()}
}

// logInvalids logs the invalid sidecars that have not changed for debounceDelay or, if all is
// set, all invalid sidecars.
func (o *observer) logInvalids(all bool) {
	now, next := time.Now(), debounceDelay
	for name, invalid := range o.invalids {
		e, ok := o.reg.Get(name)
		d := o.daemons[name]
		if !ok || d == nil || usable(e) {
			delete(o.invalids, name)
			continue
		}
		if wait := debounceDelay - now.Sub(invalid.since); wait > 0 && !all {
			next = min(next, wait)
			continue
		}
		mark := invalidMark(e)
		if mark != invalid.mark && !all {
			continue // observe has not handled this change yet
		}
		delete(o.invalids, name)
		d.logged().invalid = mark
		o.logInvalid(name, e.Problem)
	}
	if len(o.invalids) > 0 {
		o.debounce.Reset(next)
	}
}

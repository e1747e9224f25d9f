package prune

// What is known of each daemon, and what has been logged of it.

import (
	"time"

	"runtimegc/prune/internal/proc"
	"runtimegc/registry"
	"runtimegc/registry/daemondir"
)

// settleDelay is how long a sidecar that cannot be used must stay the same before that is
// logged: a spawner truncates it and writes it in two steps, and an event tells of the
// first.
const settleDelay = time.Second

// An observer is the state of one run: what is known of each daemon. One goroutine owns it.
type observer struct {
	*Collector
	changes *registry.Follower
	exits   *proc.Exits // nil: exits are found by the sweep
	tracer  *tracer

	daemons   map[string]*daemon
	unsettled map[string]unsettled       // sidecars that cannot be used, which is yet to be logged
	settle    *time.Timer                // runs while there are any
	leftovers map[string]Reason          // quarantined dirs, and why, as was logged, they stay
	removed   map[string]daemondir.Entry // removed by us; the registry has yet to hear of it

	inHand string    // the dir that the worker is removing: what becomes of it is known afterwards
	since  time.Time // when the event arrived that is being looked into; zero: found by a look of our own

	pass *pass // nil: no sweep is under way
}

// daemon is what is known of one daemon dir beyond its entry, and what has been logged of
// it. There may be 100,000 of them.
type daemon struct {
	process   // as of the last probe
	dir       daemondir.FileID
	spawnedAt daemondir.Timestamp // by which the process was verified

	// nextLook is from when on, in ms since the epoch, a sweep has to look at the dir again.
	nextLook uint64
	invalid  bool // no usable sidecar

	added      bool          // daemon.added was logged
	live       bool          // daemon.live was logged, daemon.exited not yet
	lastPID    daemondir.PID // of the last daemon.live
	lastLogged *lastLogged   // nil of most
}

// lastLogged is what was logged last of a dir that is not as it should be, so that it is
// not logged again.
type lastLogged struct {
	invalid daemondir.Stamp // the sidecar of the last sidecar.invalid
	kept    Reason          // of the last daemon.kept
	refused string          // the error of the last sidecar.unwritable
}

// logged returns what was logged last of d, to be written to.
func (d *daemon) logged() *lastLogged {
	if d.lastLogged == nil {
		d.lastLogged = &lastLogged{}
	}
	return d.lastLogged
}

// last returns what was logged last of d, to be read.
func (d *daemon) last() lastLogged {
	if d.lastLogged == nil {
		return lastLogged{}
	}
	return *d.lastLogged
}

// state is what is known of the daemon, without a new look: empty before the first. Only
// check changes it, which keeps the totals.
func (d *daemon) state() State {
	if d.invalid {
		return Invalid
	}
	return d.State
}

func (c *Collector) newObserver() *observer {
	o := &observer{
		Collector: c,
		changes:   c.reg.Follow(),
		tracer:    newTracer(c.trace),
		daemons:   make(map[string]*daemon),
		unsettled: make(map[string]unsettled),
		settle:    time.NewTimer(settleDelay),
		leftovers: make(map[string]Reason),
		removed:   make(map[string]daemondir.Entry),
	}
	o.settle.Stop()
	o.count(func(t *Totals) { t.Daemons = nil })
	return o
}

// close lets go of all processes; the totals stay what they were. The error is that of the
// tracer.
func (o *observer) close() error {
	o.changes.Close()
	for _, d := range o.daemons {
		o.release(d)
	}
	o.settle.Stop()
	return o.tracer.close()
}

// observeChanges looks into all that has changed in the registry.
func (o *observer) observeChanges() {
	for _, change := range o.changes.Take() {
		o.since = change.Since
		o.observe(change.Name, entryChanged)
	}
	o.since = time.Time{}
}

// observeExit looks into the exit of a process.
func (o *observer) observeExit(x proc.Exit) {
	o.since = x.At
	o.observe(x.Name, exitAnnounced)
	o.since = time.Time{}
}

// A cause is why a daemon is looked at.
type cause uint8

const (
	entryChanged  cause = iota // its entry in the registry is another
	exitAnnounced              // its handle says that the process has exited
	swept                      // it is its turn in a sweep
)

// observe compares the entry of that name with what is known of the daemon, probes it
// if the answer may be another, and logs what has changed.
func (o *observer) observe(name string, why cause) {
	if name == o.inHand && name != "" {
		return // looked at when the worker is done with it
	}
	e, ok := o.reg.Get(name)
	d := o.daemons[name]
	if d != nil && (!ok || e.Dir != d.dir && e.Dir != (daemondir.FileID{})) {
		if d.added {
			o.logGone(name)
		}
		o.forget(name)
		d = nil
	}
	if was, ours := o.removed[name]; ours {
		if ok && e == was {
			return
		}
		delete(o.removed, name)
	}
	if !ok {
		return
	}
	if daemondir.Quarantined(name) {
		if _, known := o.leftovers[name]; !known {
			o.leftovers[name] = ""
		}
		return
	}
	if d == nil {
		d = &daemon{process: noProcess, dir: e.Dir}
		o.daemons[name] = d
	}
	if e.Sidecar != (daemondir.Stamp{}) && !d.added {
		d.added = true
		o.logAdded(name)
	}
	o.check(name, d, e, why)
	o.noteSidecar(name, d, e)
}

// check makes sure that d says whether the daemon of e is alive, and logs what is new.
func (o *observer) check(name string, d *daemon, e daemondir.Entry, why cause) {
	was := d.state()
	d.invalid = e.Problem != daemondir.ProblemNone
	defer func() {
		o.countMove(was, d.state())
		d.nextLook = nextLook(e, d.Liveness, o.Times().StaleAfter)
	}()
	spawnedAt := e.SpawnedAt
	if d.invalid {
		// Without a sidecar nobody is born; whether the one that lived still does is known
		// from what it was last verified by.
		if !d.live {
			return
		}
		e.PID, spawnedAt = d.pid, d.spawnedAt
	}
	pid := e.PID
	if !pid.Known && d.live {
		// A pid file that is being rewritten, or was emptied or lost, says nothing new of a
		// process that was verified by it.
		pid = d.pid
	}
	var exit Liveness
	exited := false
	switch {
	case d.handle != proc.NoHandle && d.pid == pid:
		// Verified once, and its exit will be announced.
		if why != exitAnnounced {
			return
		}
		if exit, exited = d.exited(); !exited {
			return
		}
	case d.State == Dead && why != entryChanged:
		return // the dead do not rise
	}
	o.release(d)
	if exited {
		d.process = process{Liveness: exit, pid: pid, handle: proc.NoHandle}
	} else {
		e.SpawnedAt = spawnedAt
		d.process = o.probe(e, pid, o.path(name))
	}
	d.spawnedAt = spawnedAt
	o.noteLife(name, d, e, pid)
	o.watchExit(name, d)
}

// noteLife logs a birth or an exit, if d, which was just probed, tells of one; pid is the
// process that it is about.
func (o *observer) noteLife(name string, d *daemon, e daemondir.Entry, pid daemondir.PID) {
	switch {
	case d.State == Alive && !(d.live && d.lastPID == pid):
		o.logLive(name, d, pid)
		d.live, d.lastPID = true, pid
		if d.lastLogged != nil {
			d.lastLogged.kept = ""
		}
	case d.State == Dead && d.live:
		d.live = false
		o.logExited(name, d, pid, staleAt(e.LastSeen, o.Times().StaleAfter))
	}
}

// watchExit has the exit of a live daemon announced. Without room for its handle the sweep
// finds it.
func (o *observer) watchExit(name string, d *daemon) {
	if d.handle != proc.NoHandle && (o.exits == nil || !o.exits.Add(d.handle, name)) {
		d.close()
	}
}

// release lets go of the process of d.
func (o *observer) release(d *daemon) {
	if d.handle != proc.NoHandle && o.exits != nil {
		o.exits.Remove(d.handle)
	}
	d.close()
}

// forget drops what is known of a daemon.
func (o *observer) forget(name string) {
	if d := o.daemons[name]; d != nil {
		o.release(d)
		o.countMove(d.state(), "")
		delete(o.daemons, name)
	}
	delete(o.unsettled, name)
}

// unsettled is a sidecar that cannot be used: which, and since when it is this one.
type unsettled struct {
	mark  daemondir.Stamp
	since time.Time
}

// invalidMark is what makes one invalid sidecar another: its file, or without one (a
// dir that may not be read) the problem.
func invalidMark(e daemondir.Entry) daemondir.Stamp {
	if e.Sidecar == (daemondir.Stamp{}) {
		return daemondir.Stamp{Size: -1 - int64(e.Problem)}
	}
	return e.Sidecar
}

// usable says whether nothing is wrong with the sidecar of e, or there is none: a dir
// without one is not a daemon's, and not worth a line.
func usable(e daemondir.Entry) bool {
	return e.Problem == daemondir.ProblemNone || e.Problem == daemondir.ProblemNoSidecar
}

// noteSidecar waits for a sidecar that cannot be used to settle.
func (o *observer) noteSidecar(name string, d *daemon, e daemondir.Entry) {
	if usable(e) {
		delete(o.unsettled, name)
		return
	}
	mark := invalidMark(e)
	if d.last().invalid == mark || o.unsettled[name].mark == mark {
		return
	}
	if len(o.unsettled) == 0 {
		o.settle.Reset(settleDelay)
	}
	o.unsettled[name] = unsettled{mark: mark, since: time.Now()}
}

// logSettled logs which sidecars have been invalid, and the same, for settleDelay; or,
// with all set, which are invalid.
func (o *observer) logSettled(all bool) {
	now, next := time.Now(), settleDelay
	for name, u := range o.unsettled {
		e, ok := o.reg.Get(name)
		d := o.daemons[name]
		if !ok || d == nil || usable(e) {
			delete(o.unsettled, name)
			continue
		}
		if wait := settleDelay - now.Sub(u.since); wait > 0 && !all {
			next = min(next, wait)
			continue
		}
		if mark := invalidMark(e); mark != u.mark && !all {
			continue // the change is on its way to observe, which begins to wait anew
		}
		delete(o.unsettled, name)
		d.logged().invalid = invalidMark(e)
		o.logInvalid(name, e.Problem)
	}
	if len(o.unsettled) > 0 {
		o.settle.Reset(next)
	}
}

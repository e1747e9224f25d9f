package prune

import (
	"time"

	"runtimegc/prune/internal/proc"
	"runtimegc/registry"
	"runtimegc/registry/daemondir"
)

// An observer is the state of one run: what is known of each daemon. One goroutine owns it.
type observer struct {
	*Collector
	changes *registry.Follower
	exits   *proc.Exits // nil: only sweeps find exits
	tracer  *tracer

	announcing  bool // the system can announce exits
	unannounced int  // live daemons whose exits cannot be announced for lack of descriptors
	degraded    bool // watch.degraded was logged of them, watch.restored not yet

	rootFound chan struct{} // see foundAgain
	scanned   bool          // all of the root was read since it was found

	daemons   map[string]*daemon
	invalids  map[string]invalidSidecar  // invalid sidecars that are not logged yet
	debounce  *time.Timer                // runs while there are any
	recheck   *time.Timer                // runs while there are dirs in returning, or exits to report
	leftovers map[string]leftover        // by quarantined name
	returning map[string]struct{}        // dirs that were put back, see awaitReturn
	removed   map[string]daemondir.Entry // dirs that we removed, until the registry shows it

	inHand       string    // the first dir of the worker's task
	beingRemoved string    // the dir that the worker is removing or putting back; its changes are ignored
	eventAt      time.Time // when the event that is being handled arrived; zero: in a sweep

	pass      *pass      // nil: no sweep is under way
	requested []*request // sweeps that wait for it to end

	exited   []item // daemons whose exit is yet to be recorded in their sidecars
	recorded bool   // the worker got some of them, so it must get the ending task as well
}

// daemon is what is known of one daemon dir besides its entry, and what has been logged
// about it. There may be 100,000 of them.
type daemon struct {
	process      // as of the last probe
	dir          daemondir.FileID
	spawnedAt    daemondir.Timestamp // of the sidecar, when the process was probed
	judgeAgainAt uint64              // in ms since the epoch; see the function of that name
	exitedAt     uint64              // when its exit was noticed, in ms since the epoch; 0: it was not
	invalid      bool                // there is no usable sidecar
	witnessed    bool                // we have seen it alive, with this pid and spawnedAt
	unannounced  bool                // it is alive, and its exit cannot be announced
	added        bool                // daemon.added was logged
	live         bool                // daemon.live was logged, daemon.exited not yet

	lastPID    daemondir.PID // of the last daemon.live
	probedPID  daemondir.PID // the last known pid that was probed
	lastLogged *lastLogged   // nil for most daemons
}

// lastLogged is what was last logged about a dir, so that it is not logged again.
type lastLogged struct {
	invalid    daemondir.Stamp // the sidecar of the last sidecar.invalid
	kept       Reason          // of the last daemon.kept
	refreshErr string          // the error of the last sidecar.unwritable
}

// logged returns the lastLogged of d, which the caller may change.
func (d *daemon) logged() *lastLogged {
	if d.lastLogged == nil {
		d.lastLogged = &lastLogged{}
	}
	return d.lastLogged
}

// last returns a copy of the lastLogged of d.
func (d *daemon) last() lastLogged {
	if d.lastLogged == nil {
		return lastLogged{}
	}
	return *d.lastLogged
}

// state returns the state as of the last probe; it is empty before the first. Only check may
// change it, because that updates the totals.
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
		rootFound: make(chan struct{}),
		tracer:    newTracer(c.trace),
		daemons:   make(map[string]*daemon),
		invalids:  make(map[string]invalidSidecar),
		debounce:  time.NewTimer(debounceDelay),
		recheck:   time.NewTimer(recheckDelay),
		leftovers: make(map[string]leftover),
		returning: make(map[string]struct{}),
		removed:   make(map[string]daemondir.Entry),
	}
	o.debounce.Stop()
	o.recheck.Stop()
	o.count(func(t *Totals) { t.Daemons, t.Unannounced = nil, 0 })
	return o
}

// close releases all processes. The totals stay as they are. The error is the tracer's.
func (o *observer) close() error {
	o.changes.Close()
	for _, d := range o.daemons {
		o.release(d)
	}
	o.debounce.Stop()
	o.recheck.Stop()
	return o.tracer.close()
}

// observeChanges handles all changes of the registry.
func (o *observer) observeChanges() {
	for _, change := range o.changes.Take() {
		o.eventAt = change.Since
		o.observe(change.Name, entryChanged)
	}
	o.eventAt = time.Time{}
}

func (o *observer) observeExit(x proc.Exit) {
	o.eventAt = x.At
	o.observe(x.Name, exitAnnounced)
	o.eventAt = time.Time{}
}

// A cause is why a daemon is checked.
type cause uint8

const (
	entryChanged  cause = iota // its entry in the registry has changed
	exitAnnounced              // its handle reports that the process has exited
	swept                      // a sweep has come to it
)

// observe compares the entry of that name with what is known of the daemon, probes it if its
// state may have changed, and logs what has.
func (o *observer) observe(name string, why cause) {
	e, ok := o.reg.Get(name)
	d := o.daemons[name]
	_, returning := o.returning[name]
	// When the worker is done, account calls observe; when a dir should have returned,
	// checkReturned does.
	if name == o.beingRemoved && name != "" || returning && !ok {
		if d != nil && why == exitAnnounced {
			o.release(d) // it is announced only once; so the next check finds it again
		}
		return
	}
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
			other := o.daemons[nameOf(name)]
			o.leftovers[name] = leftover{replaced: other != nil && other.added}
		}
		return
	}
	if d == nil {
		d = &daemon{process: noProcess, dir: e.Dir}
		o.daemons[name] = d
	}
	if e.Sidecar != (daemondir.Stamp{}) && !d.added {
		d.added = true
		if !o.replaces(name, d) {
			o.logAdded(name)
		}
	}
	o.check(name, d, e, why)
	o.noteInvalid(name, d, e)
}

// check updates the state of d, probing its process if necessary, and logs what has changed.
func (o *observer) check(name string, d *daemon, e daemondir.Entry, why cause) {
	was := d.state()
	d.invalid = e.Problem != daemondir.ProblemNone
	defer func() {
		o.countMove(was, d.state())
		d.judgeAgainAt = judgeAgainAt(d.seen(e), *d.Liveness, o.Times().StaleAfter)
		if at, ok := junkAt(e, o.invalidAfter); ok {
			d.judgeAgainAt = min(d.judgeAgainAt, at)
		}
		if d.unrecorded(e) {
			d.judgeAgainAt = 0
		}
	}()
	spawnedAt := e.SpawnedAt
	if d.invalid {
		// Without a usable sidecar, a new process cannot be verified. One that was alive is
		// still checked, by the pid and spawned_at that it was verified with.
		if !d.live {
			return
		}
		e.PID, spawnedAt = d.pid, d.spawnedAt
	}
	pid := e.PID
	if !pid.Known && d.live {
		// If the pid file is empty, missing or being rewritten, that says nothing about the
		// process that was verified.
		pid = d.pid
	}
	var exit Liveness
	var ended *proc.Ending
	exited := false
	switch {
	case d.handle != proc.NoHandle && d.pid == pid:
		// It was verified, and its exit will be announced.
		if why != exitAnnounced {
			return
		}
		if exit, exited = d.exited(); !exited {
			return
		}
		ended = d.handle.Ending() // of this process, whosever exit was announced
	case d.State == Dead && why != entryChanged:
		return // a dead daemon comes back only by a new entry
	}
	o.release(d)
	if pid != d.pid || spawnedAt != d.spawnedAt {
		d.witnessed = false
		o.endings.set(name, nil) // that was another process
	}
	if exited {
		d.process = newProcess(exit, pid, proc.NoHandle)
		o.endings.set(name, ended)
	} else {
		e.SpawnedAt = spawnedAt
		p := o.prober
		p.witnessed = d.witnessed
		d.process = p.probe(e, pid, o.path(name))
	}
	d.spawnedAt = spawnedAt
	d.witnessed = d.witnessed || d.State == Alive
	o.logLife(name, d, e, pid)
	o.watchExit(name, d)
}

// logLife logs a birth or an exit, if the probe of d has found one; pid was probed.
func (o *observer) logLife(name string, d *daemon, e daemondir.Entry, pid daemondir.PID) {
	first := pid.Known && pid != d.probedPID
	if pid.Known {
		d.probedPID = pid
	}
	switch {
	case d.State == Alive && !(d.live && d.lastPID == pid):
		o.logLive(name, d, pid)
		d.live, d.lastPID = true, pid
		if d.lastLogged != nil {
			d.lastLogged.kept = ""
		}
	case d.State == Dead && d.live:
		d.live = false
		if d.witnessed || !o.scope.Load().shared {
			o.recordExit(d, e)
		} // else a respawn elsewhere took its place, and what we write would be said of that
		o.logExited(name, d, pid, d.lastPID, staleAt(d.seen(e).LastSeen, o.Times().StaleAfter))
	case d.State == Dead && first && o.appeared() && !o.scope.Load().shared:
		// Its life was over before we looked. When it ended is not known: the dir may have been
		// moved here long after. So nothing is recorded, and its sidecar says when it was alive.
		o.logExited(name, d, pid, daemondir.PID{}, staleAt(e.LastSeen, o.Times().StaleAfter))
	}
}

// appeared reports whether what is observed now has come up since the root was found: because of
// an event or, after events were lost or in what is polled, because a later scan has found it.
func (o *observer) appeared() bool { return o.scanned || !o.eventAt.IsZero() }

// recordExit has the time of an exit written into the sidecar: the daemon was alive until
// then, and its dir is kept for all of StaleAfter from then on. The last refresh may be a
// sweep interval old, or more if the host was suspended.
func (o *observer) recordExit(d *daemon, e daemondir.Entry) {
	// Not eventAt: it may be that of an event from before the exit.
	d.exitedAt = unixMS(o.now())
	o.record(d, e)
}

// record has the exit of d written, if its sidecar does not have it. If another process has
// that open, the next sweep tries again.
func (o *observer) record(d *daemon, e daemondir.Entry) {
	if d.unrecorded(e) && !o.dryRun {
		o.exited = append(o.exited, item{entry: e, row: Row{LastSeen: d.seen(e).LastSeen}})
	}
}

// unrecorded reports whether d has exited, and its sidecar does not say when.
func (d *daemon) unrecorded(e daemondir.Entry) bool {
	return d.State == Dead && e.Problem == daemondir.ProblemNone && d.seen(e) != e
}

// seen returns e with the exit of the daemon taken into account, whether or not it could be
// recorded in the sidecar.
func (d *daemon) seen(e daemondir.Entry) daemondir.Entry {
	if d.exitedAt > e.LastSeen.MS {
		e.LastSeen = daemondir.At(d.exitedAt)
	}
	return e
}

// forget drops what is known of a daemon.
func (o *observer) forget(name string) {
	if d := o.daemons[name]; d != nil {
		o.release(d)
		o.setUnannounced(d, false)
		o.countMove(d.state(), "")
		o.endings.set(name, nil)
		delete(o.daemons, name)
	}
	delete(o.invalids, name)
}

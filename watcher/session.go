package watcher

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"runtimegc/registry/daemondir"

	"github.com/fsnotify/fsnotify"
)

// recheckDelay is the time from a rename of daemon dirs to the check that all of them are
// still watched. By then fsnotify has read the events of the rename.
const recheckDelay = time.Second

// The pauses between two tries to take the lock. They double. After the first of lockPatience
// or more, and about a second in all, a watcher that has just begun gives up, and any other
// logs that the root is locked.
const (
	minLockWait  = 10 * time.Millisecond
	lockPatience = 500 * time.Millisecond
	maxLockWait  = 5 * time.Second
)

// errIO is the reason to poll a dir whose files cannot be read.
var errIO = errors.New("reading a daemon dir failed")

// A session lasts as long as the root is the same directory, or is missing, and no event
// is lost. Only the goroutine of [Watcher.Run] uses it; the drain fills pending.
type session struct {
	*Watcher
	dir     string // the root with symlinks resolved
	pending *pending
	watches *watches
	end     func() // stops fsnotify and the drain
	scanned bool   // a scan was completed

	polls   *polls
	poll    rootPoll
	births  births
	eventAt time.Time        // when the event behind this read arrived; zero for scans and polls
	recheck <-chan time.Time // fires when rewatch is due; nil: it is not

	birthsDue time.Time // no look for births before then

	added, changed, removed int // entries of the registry so far
}

// newSession begins a session: from here on, every change of the root raises an event.
func (w *Watcher) newSession() *session {
	fsn, err := fsnotify.NewWatcher()
	s := w.sessionBy(fsn, err)
	if err == nil {
		wait := s.pending.drain(fsn)
		s.end = func() {
			fsn.Close()
			wait()
		}
	}
	s.watches.addAbove(s.pending.paths)
	return s
}

// sessionBy returns a session whose events nobody takes in yet. If fsnotify cannot be had, err
// says why.
func (w *Watcher) sessionBy(fsn *fsnotify.Watcher, err error) *session {
	dir, paths := rootPaths(w.root)
	s := &session{
		Watcher: w, dir: dir, pending: newPending(w.opts.Registry, dir, paths),
		polls: newPolls(w.opts.PollInterval),
	}
	s.pending.expects, s.pending.taken = w.reg.Expects, w.taken
	s.end = func() {}
	s.watches = newWatches(fsn, err)
	s.pending.byFiles = s.watches.byFiles
	return s
}

// serve serves the root as it is now. It returns when that changes or events were lost.
func (s *session) serve(ctx context.Context) error {
	// The watches exist already, so any change from here on raises an event.
	if dir, paths := rootPaths(s.root); dir != s.dir || !slices.Equal(paths, s.pending.paths) {
		return nil
	}
	state := inspectRoot(s.root)
	s.leave(state)
	if state.found() {
		if err := s.lock(); err != nil {
			if errors.Is(err, fs.ErrNotExist) || !inspectRoot(s.root).same(state) {
				return nil
			}
			if s.lockWait >= lockPatience && !s.last.seen {
				return err
			}
			s.awaitLock(ctx, err)
			return nil
		}
		s.lockWait = 0
	}
	s.enter(state)
	if state.found() {
		s.watches.eventless = s.eventless(s.dir)
		s.watches.addRoot(s.dir)
		s.scan(ctx)
	} else {
		s.lockWait = 0
		s.reportResync()
	}
	s.setReady()
	s.loop(ctx, state)
	return nil
}

// awaitLock waits before the next try to take the lock: a single pass may have it for a moment,
// or two roots of this process have changed places.
func (s *session) awaitLock(ctx context.Context, err error) {
	was := s.lockWait
	s.lockWait = min(max(2*was, minLockWait), maxLockWait)
	if was < lockPatience && s.lockWait >= lockPatience && s.last.seen {
		s.opts.Log.Warn().Str("event", "root.locked").Str("dir", daemondir.Printable(s.root)).Err(err).
			Msg("the runtime root is locked; waiting until it can be served")
	}
	s.stall.end()
	next := time.NewTimer(s.lockWait)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.pings:
		case <-s.pending.root:
			return
		case <-next.C:
			return
		}
	}
}

// loop reads the pending dirs until the root is no longer what state says, events were
// lost, or ctx is done.
func (s *session) loop(ctx context.Context, state rootState) {
	check := time.NewTicker(s.opts.CheckInterval)
	defer check.Stop()
	var poller poller
	defer poller.stop()
	var resync <-chan time.Time
	for {
		s.reportDegraded()
		poller.arm(s)
		s.stall.end()
		select {
		case <-ctx.Done():
			return
		case <-s.pending.root:
			s.stall.begin()
			if s.pending.rearm.Load() || !inspectRoot(s.root).same(state) {
				return
			}
		case <-check.C:
			s.stall.begin()
			if s.replaced(state) {
				return
			}
			s.rewatch()
		case err := <-s.pending.lost:
			if wait, ok := s.resync.overflow(time.Now()); ok {
				if errors.Is(err, fsnotify.ErrEventOverflow) {
					err = nil // the event's name says it
				}
				s.opts.Log.Warn().Err(err).Str("event", "events.overflow").Int64("resync_in_ms", wait.Milliseconds()).
					Msg("events were lost; reading the runtime root again")
				s.overflows.Add(1)
				resync = time.After(wait)
			}
		case <-resync:
			return
		case <-s.pending.names.Ready():
			s.readPending(ctx)
		case <-s.pending.ours.Ready():
			s.readPending(ctx)
		case <-s.pending.noisy.Ready():
			s.stall.begin()
			s.quiet()
		case <-s.reg.Doubts().Ready():
			s.recheckDoubts()
		case <-s.recheck:
			s.recheck = nil
			s.rewatch()
		case <-s.pings:
		case <-poller.tick():
			s.stall.begin()
			if !inspectRoot(s.root).same(state) || s.retryWatches() {
				return
			}
			if state.found() {
				s.pollRoot(ctx)
				s.findBirths()
			}
		case <-poller.due():
			s.stall.begin()
			poller.fired()
			s.look()
		}
	}
}

// replaced reports whether the root is no longer what state says. If the same directory is
// there, one system call shows it: a change of its mode raises an event, so only its
// replacement may go unreported.
func (s *session) replaced(state rootState) bool {
	if info, err := os.Stat(s.root); err == nil && state.found() && os.SameFile(info, state.info) {
		return false
	}
	return !inspectRoot(s.root).same(state)
}

// readPending reads every daemon dir that events have named. A root that is not served has none:
// what was named then was in it before, or is doubted by somebody who still has its entry.
func (s *session) readPending(ctx context.Context) {
	s.answerPing()
	defer func() { s.eventAt = time.Time{} }()
	names, ours := s.pending.names.Take(), s.pending.ours.Take()
	if !s.last.found() {
		return
	}
	for _, change := range names {
		if ctx.Err() != nil {
			return
		}
		s.answerPing()
		name := change.Name
		s.eventAt = change.Since
		// A quarantined dir that is not in the registry belongs to a removal under way.
		// One that is there was found by a scan: an earlier run left it behind.
		if daemondir.Quarantined(name) {
			if _, known := s.opts.Registry.Get(name); !known {
				continue
			}
		}
		s.read(name)
	}
	for _, change := range ours {
		s.eventAt = change.Since
		s.confirm(change.Name)
	}
}

// confirm updates the entry of name to what we wrote ourselves ([registry.Registry.Expect]),
// if one stat shows that the sidecar still is that file. If not, it reads the dir.
//
// Before Linux 6.13 a stamp cannot tell two writes within one clock tick (1-4 ms) apart: if
// a spawner rewrites the sidecar at the same length right after us, this misses it. The
// spawner's next step, writing the pid file, is then noticed: that is always read.
func (s *session) confirm(name string) {
	expected, ok := s.reg.TakeExpected(name)
	if ok && daemondir.SidecarStamp(s.dir, name) == expected.Sidecar {
		e, known := s.opts.Registry.Get(name)
		if known && e.Dir == expected.Dir && e.Problem == daemondir.ProblemNone &&
			e.SpawnedAt == expected.SpawnedAt && e.Sidecar.Ino == expected.Sidecar.Ino {
			e.Sidecar, e.LastSeen = expected.Sidecar, expected.LastSeen
			s.put(e)
			return
		}
	}
	s.read(name)
}

// rewatch watches and reads the dirs that have lost their watch. If that does not heal it, a new
// session must begin.
func (s *session) rewatch() {
	names, rearm := s.watches.lost(s.dir)
	for _, name := range names {
		s.pending.names.Add(name, time.Time{})
	}
	if rearm {
		s.pending.setRearm()
	}
}

// recheckDoubts has the dirs read that somebody has found to differ from the registry
// ([registry.Registry.Doubt]). No event reported it, so the watch may be on another dir.
func (s *session) recheckDoubts() {
	for _, doubt := range s.reg.Doubts().Take() {
		s.pending.moved.add(doubt.Name)
		s.pending.names.Add(doubt.Name, time.Time{})
	}
}

// answerPing answers a waiting ping, in the middle of work that may take long.
func (s *session) answerPing() {
	s.stall.begin()
	select {
	case <-s.pings:
	default:
	}
}

// read watches the dir name, reads it, and updates the registry. Of a dir that is gone, such as
// each that the collector removes, only that is looked at.
func (s *session) read(name string) {
	if s.watches.canAdd(name) {
		name = strings.Clone(name) // it may be a part of an event's path, and is kept
	}
	if !s.watch(name) {
		s.gone(name)
		return
	}
	e, err := daemondir.Read(s.dir, name)
	s.take(name, e, err)
}

// watch adds the watch of name, if there is none, and reports whether there is such a dir, as far
// as it has looked. It must be called before name is read: of 200 pid files written right after
// mkdir, 71 came before the watch and were not reported.
func (s *session) watch(name string) (there bool) {
	if s.pending.moved.take(name) {
		s.watches.drop(s.dir, name)
		s.rewatchSoon()
	}
	if storedByIndex && s.watches.canAdd(name) {
		s.rewatchSoon()
	}
	return s.watches.add(s.dir, name)
}

func (s *session) rewatchSoon() {
	if s.recheck == nil {
		s.recheck = time.After(recheckDelay)
	}
}

// take updates the registry and the watch of name with the result of a read.
func (s *session) take(name string, e daemondir.Entry, err error) {
	s.reads.Add(1)
	if err == nil {
		if other, ok := s.watches.bind(s.dir, name, e.Dir); !ok {
			// The watch was on another dir. Both were removed, and the reads add them again.
			s.pending.names.Add(other, time.Time{})
			s.pending.names.Add(name, time.Time{})
		}
		changed := lastChange(e)
		if s.put(e) && s.scanned {
			changed = time.Now()
		}
		if e.Problem == daemondir.ProblemIO {
			s.watches.polled[name] = errIO // a disk that recovers raises no event
		}
		s.schedule(name, changed)
		return
	}
	s.watches.dropUnbound(s.dir, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.gone(name)
	case errors.Is(err, daemondir.ErrBusy):
		s.polls.addBusy(name, s.eventAt, time.Now())
	default:
		s.watches.polled[name] = err // out of descriptors or memory: the entry stays
		s.schedule(name, time.Now())
	}
}

// gone updates the registry: there is no dir name.
func (s *session) gone(name string) {
	if s.replaced(s.last) {
		s.pending.setRearm() // something is mounted over the root, or it is gone
		return
	}
	if storedByIndex && daemondir.Look(s.dir, name) == daemondir.Directory {
		s.polls.addBusy(name, s.eventAt, time.Now()) // the root was away: no event on Windows
		return
	}
	s.watches.drop(s.dir, name)
	s.polls.remove(name)
	if s.reg.Delete(name) {
		s.removed++
	}
}

// put stores an entry in the registry, and reports whether that has changed anything.
func (s *session) put(e daemondir.Entry) bool {
	_, known := s.opts.Registry.Get(e.Name)
	switch {
	case !s.reg.Put(e, s.eventAt):
		return false
	case known:
		s.changed++
	default:
		s.added++
	}
	return true
}

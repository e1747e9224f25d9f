package watcher

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"

	"runtimegc/registry/daemondir"

	"github.com/fsnotify/fsnotify"
)

// busyRetry is the pause before a dir whose sidecar was under a lease is read again.
// A lease of ours lasts microseconds; that of a stopped process is broken by the
// kernel after /proc/sys/fs/lease-break-time (45 s).
const busyRetry = time.Millisecond

// recheckDelay is how long after dirs have changed names it is checked that all are
// watched: fsnotify has read the events of that by then.
const recheckDelay = time.Second

// errIO is why a dir is polled whose files cannot be read.
var errIO = errors.New("reading a daemon dir failed")

// session is the time for which the root is one and the same directory, or missing,
// and no event is lost. Only the goroutine of [Watcher.Run] touches it; the drain
// fills what is pending.
type session struct {
	*Watcher
	dir     string // the root with symlinks resolved
	pending *pending
	watches *watches
	end     func() // releases what newSession took
	scanned bool   // one scan got through

	noticed time.Time // when the event behind this read arrived; zero for scans and polls

	recheck <-chan time.Time // of watches that may be lost since dirs changed names; nil: not due

	added, changed, removed int // what was put into and deleted from the registry so far
}

// newSession begins a session: from here on, what happens to the root is an event.
func (w *Watcher) newSession() *session {
	dir, paths := rootPaths(w.root)
	s := &session{Watcher: w, dir: dir, pending: newPending(w.opts.Registry, dir, paths)}
	s.pending.expects, s.pending.taken = w.reg.Expects, w.taken
	fsn, err := fsnotify.NewWatcher()
	if err != nil {
		s.watches = newWatches(nil, err)
		s.end = func() {}
	} else {
		s.watches = newWatches(fsn, nil)
		wait := s.pending.drain(fsn)
		s.end = func() {
			fsn.Close()
			wait()
		}
	}
	s.watches.addAbove(paths)
	return s
}

// serve serves the root as it is now and returns when that changes, or when events
// were lost.
func (s *session) serve(ctx context.Context) error {
	// Watched, then looked at: what changes after the look is an event.
	if dir, paths := rootPaths(s.root); dir != s.dir || !slices.Equal(paths, s.pending.paths) {
		return nil
	}
	state := lookAt(s.root)
	s.enter(state)
	if state.found() {
		if err := s.lock(); err != nil {
			if errors.Is(err, fs.ErrNotExist) || !lookAt(s.root).same(state) {
				return nil
			}
			return err
		}
		s.watches.eventless = s.eventless(s.dir)
		s.watches.addRoot(s.dir)
		s.scan(ctx)
	} else {
		s.reportResync()
	}
	s.isReady()
	s.loop(ctx, state)
	return nil
}

// loop reads what hints name until the root is no longer what state says, events were lost,
// or ctx is done.
func (s *session) loop(ctx context.Context, state rootState) {
	check := time.NewTicker(s.opts.CheckInterval)
	defer check.Stop()
	var poll *time.Ticker // runs only while something must be polled
	var pollC <-chan time.Time
	for {
		s.reportDegraded()
		if polling := s.watches.incomplete(); polling && poll == nil {
			poll = time.NewTicker(s.opts.PollInterval)
			defer poll.Stop()
			pollC = poll.C
		} else if !polling && poll != nil {
			poll.Stop()
			poll, pollC = nil, nil
		}
		select {
		case <-ctx.Done():
			return
		case <-s.pending.root:
			if s.pending.mustRearm() || !lookAt(s.root).same(state) {
				return
			}
		case <-check.C:
			if s.replaced(state) {
				return
			}
		case <-s.pending.lost:
			s.opts.Log.Warn().Str("event", "events.overflow").Msg("events were lost; reading the runtime root again")
			s.overflowed = true
			s.overflows.Add(1)
			return
		case <-s.pending.names.Ready():
			s.work(ctx)
		case <-s.pending.ours.Ready():
			s.work(ctx)
		case <-s.reg.Doubts().Ready():
			s.recheckDoubts()
		case <-s.recheck:
			s.recheck = nil
			s.rewatch()
		case <-s.pings:
		case <-pollC:
			s.watches.retry()
			if s.watches.canBegin() || !lookAt(s.root).same(state) {
				return
			}
			if state.found() {
				s.poll(ctx)
			}
		}
	}
}

// replaced says whether the root is no longer what state says, with one system call if it
// is: of a change of its mode an event tells, only of another directory at its path none
// may.
func (s *session) replaced(state rootState) bool {
	if info, err := os.Stat(s.root); err == nil && state.found() && os.SameFile(info, state.info) {
		return false
	}
	return !lookAt(s.root).same(state)
}

// work reads every daemon dir that a hint has named.
func (s *session) work(ctx context.Context) {
	s.answer()
	defer func() { s.noticed = time.Time{} }()
	for _, hint := range s.pending.names.Take() {
		if ctx.Err() != nil {
			return
		}
		s.answer()
		name := hint.Name
		s.noticed = hint.Since
		// What our own removals move out of sight is theirs. A leftover of an earlier run
		// comes in by a scan, and then its disappearance matters.
		if daemondir.Quarantined(name) {
			if _, known := s.opts.Registry.Get(name); !known {
				continue
			}
		}
		s.read(name)
	}
	for _, hint := range s.pending.ours.Take() {
		s.noticed = hint.Since
		s.confirm(hint.Name)
	}
}

// rewatch watches and reads anew what has lost its watch.
func (s *session) rewatch() {
	for _, name := range s.watches.lost(s.dir) {
		s.pending.names.Add(name, time.Time{})
	}
}

// recheckDoubts looks anew at the dirs that somebody found to be others than the registry
// says: no event told of it, so the watch may be another dir's, too.
func (s *session) recheckDoubts() {
	for _, doubt := range s.reg.Doubts().Take() {
		s.pending.addMoved(doubt.Name)
		s.pending.names.Add(doubt.Name, time.Time{})
	}
}

// answer takes a ping that is waiting, in the course of what may take long.
func (s *session) answer() {
	select {
	case <-s.pings:
	default:
	}
}

// read makes the registry say of one name what the disk says, and sees to its watch.
func (s *session) read(name string) {
	s.watch(name)
	e, err := daemondir.Read(s.dir, name)
	s.take(name, e, err)
}

// watch sees to it that name is watched before it is read: 71 of 200 pid files written
// right after mkdir were never reported to a watch that was added meanwhile.
func (s *session) watch(name string) {
	if s.pending.takeMoved(name) {
		s.watches.drop(s.dir, name)
		if s.recheck == nil {
			s.recheck = time.After(recheckDelay)
		}
	}
	s.watches.add(s.dir, name)
}

// take puts what was read of name into the registry, and sees to its watch.
func (s *session) take(name string, e daemondir.Entry, err error) {
	s.reads.Add(1)
	if err == nil {
		if other, ok := s.watches.bind(s.dir, name, e.Dir); !ok {
			// The watch was another dir's: both are taken down and made again.
			s.pending.names.Add(other, time.Time{})
			s.pending.names.Add(name, time.Time{})
		}
		s.put(e)
		if e.Problem == daemondir.ProblemIO {
			s.watches.postpone(name, errIO) // a disk that recovers raises no event
		}
		return
	}
	s.watches.dropUnbound(s.dir, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.watches.drop(s.dir, name)
		if s.reg.Delete(name) {
			s.removed++
		}
	case errors.Is(err, daemondir.ErrBusy):
		time.Sleep(busyRetry)
		s.pending.names.Add(name, s.noticed)
	default:
		// Out of descriptors or memory: what is known stays, and is looked at again.
		s.watches.postpone(name, err)
	}
}

func (s *session) put(e daemondir.Entry) {
	_, known := s.opts.Registry.Get(e.Name)
	switch {
	case !s.reg.Put(e, s.noticed):
	case known:
		s.changed++
	default:
		s.added++
	}
}

// poll reads what is not watched, after trying once more to watch it.
func (s *session) poll(ctx context.Context) {
	// What was made in the root before its watch stood is no event: one last scan.
	polled := s.watches.rootPolled()
	s.watches.addRoot(s.dir)
	if polled {
		s.scan(ctx)
		return
	}
	for _, name := range s.watches.polledNames() {
		if ctx.Err() != nil {
			return
		}
		s.answer()
		s.read(name)
	}
}

// reportResync logs, after the first scan since events were lost, what they would
// have said.
func (s *session) reportResync() {
	if !s.overflowed {
		return
	}
	s.overflowed = false
	s.resyncs.Add(1)
	s.opts.Log.Info().Str("event", "registry.resynced").
		Int("daemons", s.opts.Registry.Len()).
		Int("added", s.added).Int("changed", s.changed).Int("removed", s.removed).
		Msg("registry equals the runtime root again")
}

// reportDegraded logs the change from watching everything to polling some, and back.
func (s *session) reportDegraded() {
	switch incomplete := s.watches.incomplete(); {
	case incomplete && !s.degraded:
		s.opts.Log.Warn().Str("event", "watch.degraded").
			Str("reason", s.watches.limit()).Err(s.watches.cause()).
			Int("polled", s.watches.polledCount(s.opts.Registry.Len())).
			Int64("poll_interval_ms", s.opts.PollInterval.Milliseconds()).
			Msg("not everything can be watched; polling the rest")
	case !incomplete && s.degraded:
		s.opts.Log.Info().Str("event", "watch.restored").Msg("everything is watched again")
	}
	s.degraded = s.watches.incomplete()
	s.polling.Store(s.degraded)
	s.polled.Store(int64(s.watches.polledCount(s.opts.Registry.Len())))
}

package watcher

import (
	"context"
	"os"
	"runtime"
	"time"

	"runtimegc/registry/daemondir"
)

// A poller has the timers of a session's polling. They run only while they are needed.
type poller struct {
	ticker *time.Ticker // while anything cannot be watched: for the root
	timer  *time.Timer  // until the next dir is due
	at     time.Time    // when timer fires; zero: it does not run
}

// arm sets the timers for what s must poll now.
func (p *poller) arm(s *session) {
	if polling := s.watches.incomplete(); polling && p.ticker == nil {
		p.ticker = time.NewTicker(s.opts.PollInterval)
	} else if !polling && p.ticker != nil {
		p.ticker.Stop()
		p.ticker = nil
	}
	next, ok := s.polls.next()
	if !ok {
		if p.timer != nil {
			p.timer.Stop()
		}
		p.at = time.Time{}
		return
	}
	if next.Equal(p.at) {
		return
	}
	p.at = next
	if p.timer == nil {
		p.timer = time.NewTimer(time.Until(next))
	} else {
		p.timer.Reset(time.Until(next))
	}
}

func (p *poller) tick() <-chan time.Time {
	if p.ticker == nil {
		return nil
	}
	return p.ticker.C
}

func (p *poller) due() <-chan time.Time {
	if p.at.IsZero() {
		return nil
	}
	return p.timer.C
}

// fired must be called when a value of due was received, so that arm sets the timer again.
func (p *poller) fired() { p.at = time.Time{} }

func (p *poller) stop() {
	if p.ticker != nil {
		p.ticker.Stop()
	}
	if p.timer != nil {
		p.timer.Stop()
	}
}

// lastChange is when the files of a daemon dir were last written, as they say.
func lastChange(e daemondir.Entry) time.Time {
	return time.Unix(0, max(e.Sidecar.MTime, e.PIDFile.MTime))
}

// mustPoll reports whether the dir name can only be looked at.
func (s *session) mustPoll(name string) bool {
	_, polled := s.watches.polled[name]
	return polled || s.watches.rootPolled()
}

// schedule has a dir that has just been read looked at again if it cannot be watched.
func (s *session) schedule(name string, changed time.Time) {
	if s.mustPoll(name) {
		s.polls.add(name, changed, time.Now())
	} else {
		s.polls.remove(name)
	}
}

// look looks at some of the dirs that are due. One look is one system call, which shows
// whether the pid file has changed; now and then it reads the whole dir.
func (s *session) look() {
	runtime.LockOSThread() // whose processor time is measured
	defer runtime.UnlockOSThread()
	began, now, looks := threadTime(), time.Now(), 0
	root, err := daemondir.OpenRoot(s.dir)
	if err == nil {
		defer root.Close()
	}
	for range s.polls.batch() {
		one := s.polls.due(now)
		if one == nil {
			break
		}
		if one.busy == 0 {
			if !s.mustPoll(one.name) {
				s.polls.remove(one.name)
				continue
			}
			looks++
			if err == nil && s.unchanged(root, one) {
				s.polls.again(one, now)
				continue
			}
		}
		s.eventAt = one.since
		s.read(one.name)
		s.eventAt = time.Time{}
	}
	s.polls.spent(looks, threadTime()-began, now)
}

// findBirths has the polled dirs read whose daemon has just begun, as its process shows: with
// many dirs, that is sooner than their next look. It takes half of the looks' share at most.
func (s *session) findBirths() {
	if time.Now().Before(s.birthsDue) {
		return
	}
	runtime.LockOSThread() // whose processor time is measured
	defer runtime.UnlockOSThread()
	began, now := threadTime(), time.Now()
	for name, pid := range s.births.look(s.dir) {
		e, _ := s.opts.Registry.Get(name)
		if s.mustPoll(name) && (!e.PID.Known || int(e.PID.N) != pid) {
			s.pending.names.Add(name, time.Time{})
		}
	}
	s.birthsDue = now.Add(2 * pollShare * (threadTime() - began)) // beside the looks
}

// unchanged reports whether a look at the pid file is enough, and shows no change.
func (s *session) unchanged(root *daemondir.Root, one *poll) bool {
	e, known := s.opts.Registry.Get(one.name)
	if !known || s.polls.full(one) || s.watches.canAdd(one.name) || s.watches.polled[one.name] == errMounted {
		return false
	}
	return root.PIDStamp(one.name) == e.PIDFile
}

// retryAfter is how many poll intervals pass before watches are tried again that could not be
// added.
const retryAfter = 10

// A rootPoll is the polling of a root that itself cannot be watched, or does not report all
// changes. It is listed when its mtime has changed, and now and then.
type rootPoll struct {
	ticks  int
	mtime  time.Time // of the root, when it was listed
	listed time.Time
	rest   time.Time // it is not listed before then
}

// retryWatches lets the kernel be asked again for what it has refused, now and then. It
// reports whether a new session must begin, because there can be an inotify instance now.
func (s *session) retryWatches() (begin bool) {
	if s.poll.ticks++; s.poll.ticks%retryAfter != 0 {
		return false
	}
	s.watches.retry()
	return s.watches.canBegin()
}

// pollRoot tries to watch the root, if it is not, and has the dirs read that have come or gone
// without an event.
func (s *session) pollRoot(ctx context.Context) {
	polled := s.watches.rootPolled()
	s.watches.addRoot(s.dir)
	switch {
	case !polled:
	case !s.scanned || !s.watches.rootPolled():
		// Even if the root can be watched now: dirs made before raised no event.
		s.scan(ctx)
	default:
		s.list()
	}
}

// list has the dirs read that are only in the root, or only in the registry.
func (s *session) list() {
	now := time.Now()
	info, err := os.Stat(s.dir)
	if err != nil || now.Before(s.poll.rest) {
		return
	}
	// An mtime can be the same after two changes within a clock tick, and on a network file
	// system it is known a few seconds late.
	changed := !info.ModTime().Equal(s.poll.mtime) || s.poll.listed.Sub(info.ModTime()) < 2*time.Second
	if !changed && now.Sub(s.poll.listed) < retryAfter*s.opts.PollInterval {
		return
	}
	names, err := listDirs(s.dir, s.last.info)
	if err != nil {
		s.watches.listed = err
		return
	}
	s.watches.listed = nil
	s.poll.mtime, s.poll.listed = info.ModTime(), now
	onDisk := make(map[string]struct{}, len(names))
	for _, name := range names {
		onDisk[name] = struct{}{}
		if _, known := s.opts.Registry.Get(name); !known {
			s.pending.names.Add(name, time.Time{})
		}
	}
	for _, name := range s.opts.Registry.Names() {
		if _, there := onDisk[name]; !there {
			s.pending.names.Add(name, time.Time{})
		}
	}
	s.poll.rest = now.Add(pollShare * time.Since(now))
}

// reportDegraded logs when polling becomes necessary, and when it ends.
func (s *session) reportDegraded() {
	incomplete, polled := s.watches.incomplete(), s.watches.polledCount(s.opts.Registry.Len())
	switch {
	case incomplete && !s.degraded:
		s.opts.Log.Warn().Str("event", "watch.degraded").
			Str("reason", s.watches.limit()).Err(s.watches.cause()).Int("polled", polled).
			Int64("poll_interval_ms", s.polls.quietPause().Milliseconds()).
			Msg("not everything can be watched; polling the rest")
	case !incomplete && s.degraded:
		s.opts.Log.Info().Str("event", "watch.restored").Msg("everything is watched again")
	}
	s.degraded = incomplete
	s.polling.Store(incomplete)
	s.polled.Store(int64(polled))
}

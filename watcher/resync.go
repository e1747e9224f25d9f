package watcher

import "time"

// The distance from the end of one resync to the beginning of the next. While a burst of
// events lasts, each resync is followed by another overflow, and costs a scan.
const (
	resyncDistance    = time.Second / 4
	maxResyncDistance = 5 * time.Second
	resyncShare       = 10 // the distance is also so many times what the last resync took,

	// but not more than this, which is that of 100,000 dirs. A resync may have taken longer because
	// the process was stopped or the disk did not answer, and that says nothing of the next one.
	longestResyncDistance = 30 * time.Second
)

// A resync is the state between an overflow and the scan that makes up for it. At first that
// comes at once. When overflows follow upon resyncs, the distance doubles; what the kernel has
// not lost is still handled at once. It is for one goroutine.
type resync struct {
	overflowed bool          // events.overflow was logged, registry.resynced not yet
	due        time.Time     // when the scan begins
	ended      time.Time     // when the last one ended
	distance   time.Duration // from then to the next
}

// overflow records that events were lost. It returns how long to wait for the scan, and
// false if one is due already.
func (r *resync) overflow(now time.Time) (wait time.Duration, ok bool) {
	if r.overflowed {
		return 0, false
	}
	r.overflowed = true
	if now.Sub(r.ended) > 2*r.distance {
		r.distance = 0 // long ago
	}
	wait = max(0, r.ended.Add(r.distance).Sub(now))
	r.due = now.Add(wait)
	r.distance = min(max(2*r.distance, resyncDistance), maxResyncDistance)
	return wait, true
}

// done records the end of a scan, and reports whether it was one for an overflow.
func (r *resync) done(now time.Time) bool {
	if !r.overflowed {
		return false
	}
	r.overflowed = false
	r.ended = now
	r.distance = max(r.distance, min(resyncShare*now.Sub(r.due), longestResyncDistance))
	return true
}

// reportResync logs, after the first scan since events were lost, what that has changed.
func (s *session) reportResync() {
	if !s.resync.done(time.Now()) {
		return
	}
	s.resyncs.Add(1)
	s.opts.Log.Info().Str("event", "registry.resynced").
		Int("daemons", s.opts.Registry.Len()).
		Int("added", s.added).Int("changed", s.changed).Int("removed", s.removed).
		Msg("registry is equal to the runtime root again")
}

package proc

import "time"

// stepTolerance is how far the wall clock may move against the time since boot before
// that is a step. NTP's slewing moves both clocks alike, a leap second moves one.
const stepTolerance = 2 * time.Second

// A Clock tells whether the wall clock was set. A process's start time is reckoned
// from the wall clock as it is now, a sidecar's spawned_at was written by the wall clock
// as it was then: a step in between makes the two differ as a reused pid would.
type Clock struct {
	offset func() (time.Duration, bool) // wallOffset, but in tests
	first  time.Duration
}

// NewClock returns a clock that was not set yet.
func NewClock() Clock { return NewClockOf(wallOffset) }

// NewClockOf is [NewClock] for tests, which say themselves how far the wall clock is ahead
// of the time since boot, and whether that is known.
func NewClockOf(offset func() (time.Duration, bool)) Clock {
	first, _ := offset()
	return Clock{offset: offset, first: first}
}

// Stepped says whether the wall clock is not what it was when c was made.
func (c Clock) Stepped() bool {
	now, ok := c.offset()
	return ok && (now-c.first).Abs() > stepTolerance
}

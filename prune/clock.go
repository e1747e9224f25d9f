package prune

import "time"

// stepTolerance is how far the wall clock may move against the time since boot before
// that is a step. NTP's slewing moves both clocks alike, a leap second moves one.
const stepTolerance = 2 * time.Second

// A clock tells whether the wall clock was set. A process's start time is reckoned
// from the wall clock as it is now, spawned_at was written by the wall clock as it was
// then: a step in between makes the two differ as a reused pid would.
type clock struct {
	offset func() (time.Duration, bool) // wallOffset
	first  time.Duration
}

func newClock(offset func() (time.Duration, bool)) clock {
	first, _ := offset()
	return clock{offset: offset, first: first}
}

// stepped says whether the wall clock is not what it was when c was made.
func (c clock) stepped() bool {
	now, ok := c.offset()
	return ok && (now-c.first).Abs() > stepTolerance
}

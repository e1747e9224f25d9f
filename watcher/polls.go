package watcher

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// How often a dir without a watch is looked at: the sooner, the later it last changed. So a
// birth is noticed early, because a spawn is several changes in a few milliseconds.
const (
	// pollAge divides the time since the last change; the result is the time to the next look.
	pollAge = 8

	// firstPoll is the least time between two looks.
	firstPoll = 20 * time.Millisecond

	// pollShare is the part of a processor that all looks may take: 0.5%, so that with waking up
	// for them it is not more than 1%. With many dirs, those that have not changed are looked
	// at less often than the poll interval says.
	pollShare = 200

	// pollCredit is how long the looks at dirs that have lately changed may go on when the
	// share is used up: those at the others pay for it.
	pollCredit = 2 * time.Second

	// pollBatch is how many looks are made before the session handles events, and pollTime is
	// how long they may take. With fewer at a time, waking up would cost more than they do.
	pollBatch = 256
	pollTime  = 2 * time.Millisecond

	// pollSlack is how much too early a look may be, so that one wake-up serves several.
	pollSlack = 10 * time.Millisecond

	// lookCost is the processor time of a look until it has been measured.
	lookCost = 10 * time.Microsecond

	// After so many looks at the pid file the whole dir is read: a dir that has lately changed,
	// and one that has not. Whatever changes in that besides matters only when it is due, and
	// then it is read again.
	freshLooks = 4
	quietLooks = 64
)

// The pauses before a dir whose sidecar was under a lease is read again. They double. Our own
// leases last microseconds; the kernel breaks that of a stopped process after
// /proc/sys/fs/lease-break-time (45 s).
const (
	minBusyWait = time.Millisecond
	maxBusyWait = time.Second
)

// A poll is one dir that is to be looked at without an event.
type poll struct {
	name    string
	due     time.Time
	changed time.Time // when it last changed, as far as is known
	looks   int       // since it was read

	busy  time.Duration // not 0: the sidecar was under a lease, and this is the last pause
	since time.Time     // of a busy one: when the event that led to the read arrived

	in    *pollQueue
	index int // in its heap
}

// polls is the schedule of all polls. It is for one goroutine.
type polls struct {
	interval time.Duration // Options.PollInterval
	byName   map[string]*poll
	fresh    pollQueue     // dirs that have lately changed
	quiet    pollQueue     // all others; they get at least each fourth look
	turn     int           // counts the looks
	cost     time.Duration // of one look
	rest     time.Time     // no look before then
}

func newPolls(interval time.Duration) *polls {
	return &polls{interval: interval, byName: make(map[string]*poll), cost: lookCost}
}

// quietPause is the time between two looks at a dir that has not changed for long.
func (p *polls) quietPause() time.Duration {
	return max(p.interval, pollShare*p.cost*time.Duration(len(p.byName)))
}

// pause is the time to the next look at a dir that last changed then.
func (p *polls) pause(changed, now time.Time) time.Duration {
	quiet := p.quietPause()
	if changed.After(now) {
		return quiet // a clock that was set back, or a time that somebody has made up
	}
	return min(max(now.Sub(changed)/pollAge, firstPoll), quiet)
}

// add has a dir looked at that was read just now, and last changed then. One that is already
// scheduled is scheduled anew.
func (p *polls) add(name string, changed, now time.Time) {
	one, pause := p.byName[name], p.pause(changed, now)
	if one == nil {
		one = &poll{name: name}
		if pause > firstPoll {
			pause = rand.N(pause) // not all at once
		}
	}
	one.changed, one.looks, one.busy, one.since = changed, 0, 0, time.Time{}
	p.put(one, now, pause)
}

// addBusy has a dir read whose sidecar was under a lease. since is when the event arrived.
func (p *polls) addBusy(name string, since, now time.Time) {
	one := p.byName[name]
	if one == nil {
		one = &poll{name: name}
	}
	if one.since.IsZero() {
		one.since = since
	}
	one.busy = min(max(2*one.busy, minBusyWait), maxBusyWait)
	p.put(one, now, one.busy)
}

// full reports whether the next look is to read the whole dir.
func (p *polls) full(one *poll) bool {
	if one.in == &p.fresh {
		return one.looks >= freshLooks
	}
	return one.looks >= quietLooks
}

// again schedules a dir that has not changed.
func (p *polls) again(one *poll, now time.Time) {
	one.looks++
	p.put(one, now, p.pause(one.changed, now))
}

// put schedules a dir after a pause.
func (p *polls) put(one *poll, now time.Time, pause time.Duration) {
	queue := &p.quiet
	if one.busy > 0 || now.Sub(one.changed)/pollAge < p.interval {
		queue = &p.fresh
	}
	one.due = now.Add(pause)
	if one.in == queue {
		heap.Fix(queue, one.index)
		return
	}
	if one.in != nil {
		heap.Remove(one.in, one.index)
	}
	one.in = queue
	p.byName[one.name] = one
	heap.Push(queue, one)
}

// remove ends the polling of a dir, if there is any.
func (p *polls) remove(name string) {
	if one := p.byName[name]; one != nil {
		heap.Remove(one.in, one.index)
		delete(p.byName, name)
	}
}

// next returns when something is due, or false if there is nothing.
func (p *polls) next() (due time.Time, ok bool) {
	for _, queue := range []pollQueue{p.fresh, p.quiet} {
		if len(queue) == 0 {
			continue
		}
		at, rest := queue[0].due, p.restOf(queue[0])
		if at.Before(rest) {
			at = rest
		}
		if !ok || at.Before(due) {
			due, ok = at, true
		}
	}
	return due, ok
}

// restOf returns before when a dir must not be looked at, however long it is due.
func (p *polls) restOf(one *poll) time.Time {
	switch {
	case one.busy > 0:
		return time.Time{}
	case one.in == &p.fresh:
		return p.rest.Add(-pollCredit)
	}
	return p.rest
}

// due returns a dir that is due, and leaves it in the schedule, or nil.
func (p *polls) due(now time.Time) *poll {
	soon := now.Add(pollSlack)
	fresh, quiet := p.fresh.due(now, soon), p.quiet.due(now, soon)
	p.turn++
	switch {
	case quiet != nil && p.turn%4 == 0:
		return quiet
	case fresh != nil && !p.restOf(fresh).After(soon):
		return fresh
	case quiet != nil && !p.rest.After(soon):
		return quiet
	}
	return nil
}

// batch is how many looks to make at a time.
func (p *polls) batch() int { return int(min(max(1, pollTime/p.cost), pollBatch)) }

// spent records that so many looks took so much processor time.
func (p *polls) spent(looks int, took time.Duration, now time.Time) {
	if looks == 0 {
		return
	}
	if p.rest.Before(now) {
		p.rest = now
	}
	p.rest = p.rest.Add((pollShare - 1) * took)
	p.cost = max(1, (7*p.cost+took/time.Duration(looks))/8)
}

// pollQueue is a heap of polls, by the time at which they are due.
type pollQueue []*poll

// due returns the first if it is due, or nil.
func (q pollQueue) due(now, soon time.Time) *poll {
	switch {
	case len(q) == 0, q[0].due.After(soon), q[0].busy > 0 && q[0].due.After(now):
		return nil
	}
	return q[0]
}

func (q pollQueue) Len() int           { return len(q) }
func (q pollQueue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q pollQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *pollQueue) Push(one any) {
	p := one.(*poll)
	p.index = len(*q)
	*q = append(*q, p)
}

func (q *pollQueue) Pop() any {
	last := len(*q) - 1
	one := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return one
}

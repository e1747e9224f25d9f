package watcher

import (
	"cmp"
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

	// pollShare is the part of a processor that all looks may take: 1%. With many dirs, those
	// that have not changed are looked at less often than the poll interval says.
	pollShare = 100

	// pollBatch is how many dirs are looked at before the session handles events. They take
	// some 0.5 ms.
	pollBatch = 256

	// pollSlack is how much too early a look may be, so that one wake-up serves several.
	pollSlack = 10 * time.Millisecond

	// lookCost is the processor time of a look until it has been measured.
	lookCost = 2 * time.Microsecond

	// fullLook is how many looks at the pid file are followed by a read of the whole dir.
	fullLook = 8
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

	index int // in the heap
}

// polls is the schedule of all polls. It is for one goroutine.
type polls struct {
	interval time.Duration // Options.PollInterval
	byName   map[string]*poll
	queue    pollQueue
	cost     time.Duration // of one look
	rest     time.Time     // no look before then
}

func newPolls(interval time.Duration) *polls {
	return &polls{interval: interval, byName: make(map[string]*poll), cost: lookCost}
}

// quiet is the time between two looks at a dir that has not changed for long.
func (p *polls) quiet() time.Duration {
	return max(p.interval, pollShare*p.cost*time.Duration(len(p.queue)))
}

// pause is the time to the next look at a dir that last changed then.
func (p *polls) pause(changed, now time.Time) time.Duration {
	quiet := p.quiet()
	if changed.After(now) {
		return quiet // a clock that was set back, or a time that somebody has made up
	}
	return min(max(now.Sub(changed)/pollAge, firstPoll), quiet)
}

// add has a dir looked at that last changed then. One that is already scheduled may come
// earlier.
func (p *polls) add(name string, changed, now time.Time) {
	pause := p.pause(changed, now)
	one := p.byName[name]
	if one == nil {
		if pause > firstPoll {
			pause = rand.N(pause) // not all at once
		}
		p.push(&poll{name: name, changed: changed, due: now.Add(pause)})
		return
	}
	one.changed, one.busy, one.looks = changed, 0, 0
	one.due = now.Add(pause)
	heap.Fix(&p.queue, one.index)
}

// addBusy has a dir read whose sidecar was under a lease. since is when the event arrived.
func (p *polls) addBusy(name string, since, now time.Time) {
	one := p.byName[name]
	if one == nil {
		one = &poll{name: name}
		p.push(one)
	}
	one.busy = min(max(2*one.busy, minBusyWait), maxBusyWait)
	if one.since.IsZero() {
		one.since = since
	}
	one.due = now.Add(one.busy)
	heap.Fix(&p.queue, one.index)
}

// again schedules a dir that has not changed.
func (p *polls) again(one *poll, now time.Time) {
	one.looks++
	one.due = now.Add(p.pause(one.changed, now))
	heap.Fix(&p.queue, one.index)
}

func (p *polls) push(one *poll) {
	p.byName[one.name] = one
	heap.Push(&p.queue, one)
}

// remove ends the polling of a dir, if there is any.
func (p *polls) remove(name string) {
	if one := p.byName[name]; one != nil {
		heap.Remove(&p.queue, one.index)
		delete(p.byName, name)
	}
}

// next returns when something is due, or false if there is nothing.
func (p *polls) next() (time.Time, bool) {
	if len(p.queue) == 0 {
		return time.Time{}, false
	}
	due := p.queue[0].due
	if due.Before(p.rest) && p.queue[0].busy == 0 {
		due = p.rest
	}
	return due, true
}

// due returns the first dir that is due, and leaves it in the schedule, or nil.
func (p *polls) due(now time.Time) *poll {
	if len(p.queue) == 0 {
		return nil
	}
	one := p.queue[0]
	if one.busy == 0 {
		now = now.Add(pollSlack)
	}
	if one.due.After(now) {
		return nil
	}
	return one
}

// spent records that so many looks took so much processor time.
func (p *polls) spent(looks int, took time.Duration, now time.Time) {
	if looks == 0 {
		return
	}
	p.rest = now.Add((pollShare - 1) * took)
	p.cost = cmp.Or((7*p.cost+took/time.Duration(looks))/8, 1)
}

// pollQueue is a heap of polls, by the time at which they are due.
type pollQueue []*poll

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

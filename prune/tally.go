package prune

// What a collector has seen and done, counted for whoever asks while it runs.

import (
	"maps"
	"sync"
	"time"
)

// Totals is what a collector has seen and done so far. A dry run has refreshed and
// removed nothing.
type Totals struct {
	Sweeps, Refreshed, Removed, Failed int

	RemovedBytes int64          // freed, as in daemon.removed
	Born, Exited int            // daemon.live and daemon.exited, as said
	Kept         map[Reason]int // daemon.kept, as said
	Daemons      map[State]int  // the daemon dirs there are now
	LastSweep    time.Time      // the end of the last one; zero: none yet
}

// tally guards the totals of a running collector.
type tally struct {
	mu     sync.Mutex // guards totals
	totals Totals
}

// Totals returns what the collector has seen and done so far. Any goroutine may call
// it.
func (c *Collector) Totals() Totals {
	t := &c.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	totals := t.totals
	totals.Kept, totals.Daemons = maps.Clone(t.totals.Kept), maps.Clone(t.totals.Daemons)
	return totals
}

// swept counts a sweep that is over and says so.
func (c *Collector) swept(stats Stats, took time.Duration) {
	t := &c.tally
	t.mu.Lock()
	t.totals.Sweeps++
	t.totals.Failed += stats.Failed
	if !c.opts.DryRun {
		t.totals.Refreshed += stats.Refreshed
	}
	t.totals.LastSweep = time.Now()
	t.mu.Unlock()
	c.sayDone(stats, took)
	if c.opts.Swept != nil {
		c.opts.Swept(stats, took)
	}
}

// told counts a daemon.live or daemon.exited and tells how long after the event that
// led to it it was said, if one did.
func (c *Collector) told(event string) {
	t := &c.tally
	t.mu.Lock()
	if event == "daemon.live" {
		t.totals.Born++
	} else {
		t.totals.Exited++
	}
	t.mu.Unlock()
	if c.opts.Noticed != nil && !c.noticed.IsZero() {
		c.opts.Noticed(event, time.Since(c.noticed))
	}
}

// move counts one daemon dir under another state; an empty one is none.
func (t *tally) move(from, to State) {
	if from == to {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.totals.Daemons == nil {
		t.totals.Daemons = make(map[State]int)
	}
	if from != "" {
		t.totals.Daemons[from]--
	}
	if to != "" {
		t.totals.Daemons[to]++
	}
}

func (t *tally) removed(r removal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.totals.Removed++
	t.totals.RemovedBytes += r.bytes
}

func (t *tally) kept(reason Reason) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.totals.Kept == nil {
		t.totals.Kept = make(map[Reason]int)
	}
	t.totals.Kept[reason]++
}

package prune

import (
	"maps"
	"sync"
	"time"
)

// Totals is what a collector has seen and done so far. A dry run refreshes and removes
// nothing.
type Totals struct {
	Sweeps, Refreshed, Removed, Failed int

	RemovedBytes int64          // freed, as in daemon.removed
	Born, Exited int            // daemon.live and daemon.exited, as logged
	Kept         map[Reason]int // daemon.kept, as logged
	Daemons      map[State]int  // the daemon dirs that exist now
	LastSweep    time.Time      // when the last one ended; zero: none yet

	// Unannounced counts the live daemons whose exits only sweeps find, because the limit of
	// open files leaves no handle for them.
	Unannounced int
}

type totals struct {
	mu sync.Mutex // guards t
	t  Totals
}

// Totals returns what the collector has seen and done so far.
func (c *Collector) Totals() Totals {
	c.totals.mu.Lock()
	defer c.totals.mu.Unlock()
	t := c.totals.t
	t.Kept, t.Daemons = maps.Clone(t.Kept), maps.Clone(t.Daemons)
	return t
}

func (c *Collector) count(change func(t *Totals)) {
	c.totals.mu.Lock()
	defer c.totals.mu.Unlock()
	change(&c.totals.t)
}

// countMove counts a daemon dir that changes its state. An empty state means no dir.
func (c *Collector) countMove(from, to State) {
	if from == to {
		return
	}
	c.count(func(t *Totals) {
		if t.Daemons == nil {
			t.Daemons = make(map[State]int)
		}
		if from != "" {
			t.Daemons[from]--
		}
		if to != "" {
			t.Daemons[to]++
		}
	})
}

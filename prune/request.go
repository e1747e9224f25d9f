package prune

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"runtimegc/registry/daemondir"
)

// A Request is a sweep that somebody wants while Run runs.
type Request struct {
	Names []string // only these dirs, and what interrupted removals left of them; none: all

	// StaleAfter holds for this sweep only. 0: that of the settings.
	StaleAfter time.Duration
}

// ErrEnded says that Run has ended before it came to a request.
var ErrEnded = errors.New("prune: the collector has ended")

// A request is a Request that waits for its sweep.
type request struct {
	Request
	result chan Result // one slot; closed: there will be none
}

// SweepAndWait has Run make a sweep, after the one that is under way and when the root has been
// read, and returns what it has found and done. Other than the sweeps at the interval, it judges
// each dir anew. A name without a row is not in the registry. If Run ends, the sweep may end
// early, or the error is [ErrEnded]. If ctx ends before the sweep does, that goes on, and the
// error is that of ctx.
func (c *Collector) SweepAndWait(ctx context.Context, r Request) (Result, error) {
	if r.StaleAfter < 0 {
		return Result{}, fmt.Errorf("prune: stale-after %v must not be negative", r.StaleAfter)
	}
	asked := &request{Request: r, result: make(chan Result, 1)}
	select {
	case c.requests <- asked:
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
	select {
	case result, ok := <-asked.result:
		if !ok {
			return Result{}, ErrEnded
		}
		return result, nil
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
}

// beginRequested begins the sweep of the request that has waited longest.
func (o *observer) beginRequested() {
	r := o.requested[0]
	o.requested = o.requested[1:]
	var result Result
	visit := func(row Row) { result.Rows = append(result.Rows, row) }
	staleAfter := cmp.Or(r.StaleAfter, o.Times().StaleAfter)
	o.observeChanges() // so that this sweep includes them
	if len(r.Names) == 0 {
		o.beginPass(staleAfter, true, visit)
	} else {
		o.beginPartialPass(r.Names, staleAfter, visit)
	}
	o.pass.ended = func(s Stats) {
		result.Stats = s
		r.result <- result
	}
}

// beginPartialPass begins a sweep of the dirs of those names only.
func (o *observer) beginPartialPass(names []string, staleAfter time.Duration, visit func(Row)) {
	p := o.newPass(staleAfter, visit)
	p.partial = true
	names = slices.Clone(names)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if o.daemons[name] != nil {
			p.unjudged = append(p.unjudged, name)
		}
		hidden := name
		if !daemondir.Quarantined(name) {
			hidden = daemondir.QuarantinePrefix + name
		}
		if _, left := o.leftovers[hidden]; left {
			p.leftovers = append(p.leftovers, o.inspect(hidden, p.now, p.staleAfter))
		}
	}
	o.pass = p
}

// refuseRequests answers the requests that are left when Run ends.
func (o *observer) refuseRequests() {
	for _, r := range o.requested {
		close(r.result)
	}
	o.requested = nil
}

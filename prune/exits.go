package prune

// Exits are announced by handles on the processes. Where there is none for a live daemon, sweeps
// find its exit, and try again to get one.

import (
	"errors"
	"sync"

	"runtimegc/prune/internal/proc"
)

// openExits has exits announced from now on, if they are not yet and the system can.
func (o *observer) openExits(running *sync.WaitGroup) {
	if o.exits != nil {
		return
	}
	x, err := proc.NewExits()
	o.announcing = !errors.Is(err, errors.ErrUnsupported)
	if err == nil {
		o.exits = x
		running.Go(x.Run)
	}
}

// watchExit has the exit of a live daemon announced, if it can.
func (o *observer) watchExit(name string, d *daemon) {
	if d.handle != proc.NoHandle && (o.exits == nil || !o.exits.Add(d.handle, name)) {
		d.close()
	}
	o.setUnannounced(d, o.announcing && d.State == Alive && d.handle == proc.NoHandle)
}

// release stops watching the process of d, and closes its handle.
func (o *observer) release(d *daemon) {
	if d.handle != proc.NoHandle && o.exits != nil {
		o.exits.Remove(d.handle)
	}
	d.close()
}

// setUnannounced notes whether the exit of a live daemon cannot be announced.
func (o *observer) setUnannounced(d *daemon, unannounced bool) {
	if d.unannounced == unannounced {
		return
	}
	d.unannounced = unannounced
	n := 1
	if !unannounced {
		n = -1
	}
	o.unannounced += n
	o.count(func(t *Totals) { t.Unannounced += n })
	if o.unannounced == 1 && n == 1 {
		o.recheck.Reset(recheckDelay) // more may follow
	}
}

// reportUnannounced logs that exits cannot be announced or, at the end of a sweep, when they all
// are and some more could be: daemons that come and go must not make it log again and again.
func (o *observer) reportUnannounced(swept bool) {
	switch {
	case o.unannounced > 0 && !o.degraded:
		o.degraded = true
		o.logDegraded(o.unannounced)
	case o.unannounced == 0 && o.degraded && swept && o.exits != nil && o.exits.HasRoom():
		o.degraded = false
		o.logRestored()
	}
}

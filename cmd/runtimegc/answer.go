package main

// What a running watch answers to list and prune; ask.go is their side.

import (
	"context"
	"iter"
	"sync"
	"time"

	"runtimegc/cmd/runtimegc/control"
	"runtimegc/prune"
	"runtimegc/registry/daemondir"
)

// answering is the part of a rootWatch that answers.
type answering struct {
	since time.Time

	mu     sync.Mutex // guards all below
	role   prune.Role
	server *control.Server // nil: nobody can ask, since there is no root, or no socket
}

// onRole is called when the root was found, perhaps another than before, and when the role in
// it has changed.
func (w *rootWatch) onRole(role prune.Role) {
	w.logStarted(role)
	root := w.reg.Root()
	id, _ := control.Identify(root)
	w.mu.Lock()
	w.role = role
	serves := w.server != nil && w.server.ID() == id
	w.mu.Unlock()
	if serves || id == (daemondir.FileID{}) {
		return
	}
	w.setServer(nil) // not that of the root before
	server, err := control.Serve(root, id, w)
	if err != nil {
		log := w.logOf(root)
		log.Warn().Str("event", "control.unavailable").Str("dir", daemondir.Printable(root)).Err(err).
			Msg("list and prune cannot ask this watch; all else works")
		return
	}
	w.setServer(server)
}

// setServer replaces the server, and ends the last one when it has given the answers that are
// under way.
func (w *rootWatch) setServer(server *control.Server) {
	w.mu.Lock()
	last := w.server
	w.server = server
	w.mu.Unlock() // the answers need it
	if last != nil {
		last.Close()
	}
}

// Status is of [control.Watch].
func (w *rootWatch) Status() control.Status {
	s := control.Status{
		Version: version(), Since: w.since, Times: w.collector.Times(), InvalidAfter: time.Duration(w.invalidAfter),
		Protect: w.collector.Protect(), LastSweep: w.collector.Totals().LastSweep,
	}
	w.mu.Lock()
	s.Role = w.role
	w.mu.Unlock()
	s.SharedRoot, s.SharedRootBecause = w.sharedRootOf(w.collector)
	return s
}

// Endings is of [control.Watch].
func (w *rootWatch) Endings() iter.Seq2[string, prune.Ending] { return w.collector.Endings() }

// Sweep is of [control.Watch].
func (w *rootWatch) Sweep(ctx context.Context, from control.Client, r prune.Request) (prune.Result, error) {
	w.logRequested(from, r)
	return w.collector.SweepAndWait(ctx, r)
}

// logRequested logs who has asked for a sweep; nobody in particular, if it was by a signal.
func (w *rootWatch) logRequested(from control.Client, r prune.Request) {
	log := w.logOf(w.reg.Root())
	line := log.Info().Str("event", "sweep.requested").Str("dir", daemondir.Printable(w.reg.Root()))
	if from.PID > 0 {
		line = line.Int("client_pid", from.PID).Int("client_uid", from.UID)
	}
	if len(r.Names) > 0 {
		line = line.Int("daemons", len(r.Names))
	}
	if r.StaleAfter > 0 {
		line = line.Int64("stale_after_ms", r.StaleAfter.Milliseconds())
	}
	line.Msg("a sweep was requested")
}

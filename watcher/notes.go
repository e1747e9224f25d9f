package watcher

// What we write ourselves need not be read again: whoever refreshed a sidecar tells what
// it says now, and one stat shows whether it still is that file.

import (
	"sync"

	"runtimegc/registry/daemondir"
)

// notes are the entries whose sidecars were refreshed, until their event comes.
type notes struct {
	mu     sync.Mutex // guards byName
	byName map[string]daemondir.Entry
}

func newNotes() *notes { return &notes{byName: make(map[string]daemondir.Entry)} }

func (n *notes) add(e daemondir.Entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.byName[e.Name] = e
}

func (n *notes) has(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.byName[name]
	return ok
}

func (n *notes) take(name string) (daemondir.Entry, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	e, ok := n.byName[name]
	delete(n.byName, name)
	return e, ok
}

// Expect tells the watcher that this process has written the sidecar of e, and that e is
// the entry since. It may be called from any goroutine. It is a hint like any other: if
// the event comes first, the dir is read.
func (w *Watcher) Expect(e daemondir.Entry) {
	w.notes.add(e)
	// Of a dir that has gone meanwhile no event would take the note away again.
	if _, known := w.opts.Registry.Get(e.Name); !known {
		w.notes.take(e.Name)
	}
}

// remove deletes name from the registry, and what was noted of it. It reports whether
// there was an entry.
func (w *Watcher) remove(name string) bool {
	deleted := w.opts.Registry.Delete(name)
	w.notes.take(name)
	return deleted
}

// confirm puts what was noted of name into the registry if the sidecar still is that
// file, and reads the dir if not.
//
// Before Linux 6.13 a stamp does not tell two writes of one clock tick (1-4 ms) apart: a
// spawner that rewrites the sidecar at the same length right after us goes unseen here.
// It is seen a moment later: its next step is the pid file, and that is always read.
func (s *session) confirm(name string) {
	noted, ok := s.notes.take(name)
	if ok && daemondir.SidecarStamp(s.dir, name) == noted.Sidecar {
		e, known := s.opts.Registry.Get(name)
		if known && e.Dir == noted.Dir && e.Problem == daemondir.ProblemNone &&
			e.SpawnedAt == noted.SpawnedAt && e.Sidecar.Ino == noted.Sidecar.Ino {
			e.Sidecar, e.LastSeen = noted.Sidecar, noted.LastSeen
			s.put(e)
			return
		}
	}
	s.read(name)
}

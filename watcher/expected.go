package watcher

// What we write ourselves need not be read again: whoever refreshed a sidecar says what it
// is now (registry.Registry.Expect), and one stat shows whether it still is that file.

import (
	"runtimegc/registry/daemondir"
)

// confirm puts what name is expected to be into the registry if the sidecar still is that
// file, and reads the dir if not.
//
// Before Linux 6.13 a stamp does not tell two writes of one clock tick (1-4 ms) apart: a
// spawner that rewrites the sidecar at the same length right after us goes unseen here.
// It is seen a moment later: its next step is the pid file, and that is always read.
func (s *session) confirm(name string) {
	expected, ok := s.reg.TakeExpected(name)
	if ok && daemondir.SidecarStamp(s.dir, name) == expected.Sidecar {
		e, known := s.opts.Registry.Get(name)
		if known && e.Dir == expected.Dir && e.Problem == daemondir.ProblemNone &&
			e.SpawnedAt == expected.SpawnedAt && e.Sidecar.Ino == expected.Sidecar.Ino {
			e.Sidecar, e.LastSeen = expected.Sidecar, expected.LastSeen
			s.put(e)
			return
		}
	}
	s.read(name)
}

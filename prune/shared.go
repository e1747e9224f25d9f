package prune

// What a pid proves. "No such process" is said of this host and this pid namespace only, and
// /proc must belong to that namespace. The daemons of a shared root may be elsewhere.

import (
	"errors"
	"fmt"
	"io/fs"

	"runtimegc/prune/internal/proc"
	"runtimegc/registry/daemondir"
)

// SharedRoot says whether daemons of the root may run on another host or in another pid
// namespace: an NFS home directory, or a volume of several containers.
type SharedRoot string

const (
	SharedAuto SharedRoot = "auto" // if it is on a network file system, or on FUSE; known on Linux only
	SharedYes  SharedRoot = "yes"
	SharedNo   SharedRoot = "no"
)

func (s SharedRoot) validate() error {
	switch s {
	case SharedAuto, SharedYes, SharedNo:
		return nil
	}
	return fmt.Errorf("prune: SharedRoot %q is not auto, yes or no", string(s))
}

// decide decides whether root is shared, and says why.
func (s SharedRoot) decide(root string) (shared bool, because string) {
	if s != SharedAuto {
		return s == SharedYes, "as configured"
	}
	switch kind, err := daemondir.NetworkType(root); {
	case errors.Is(err, fs.ErrNotExist):
		return false, "it does not exist yet"
	case err != nil:
		return true, err.Error() // it may be a network file system whose server does not answer
	case kind != "":
		return true, kind
	}
	return false, "it is not on a network file system"
}

// A scope is where pids are known, and where the daemons of the root may be.
type scope struct {
	shared  bool
	because string // why the root is shared, or not
	foreign error  // why nothing can be told of any pid; nil: /proc is ours
}

// updateScope decides anew whether the root is shared and /proc is ours: when the root is
// found, and before each pass that may remove something. It logs what was not so before.
func (c *Collector) updateScope() {
	var now scope
	now.foreign = proc.Foreign()
	now.shared, now.because = c.sharedRoot.decide(c.root)
	was := c.prober.scope.Swap(&now)
	if now.shared && !was.shared {
		c.log.Info().Str("event", "root.shared").Str("dir", daemondir.Printable(c.root)).
			Str("shared_root_because", daemondir.Printable(now.because)).Msg("runtime root is shared")
	}
	if now.foreign == nil {
		c.loggedForeign.Store(false)
	} else if !c.loggedForeign.Swap(true) {
		c.log.Warn().Str("event", "proc.foreign").Err(now.foreign).
			Msg("no daemon is known to be alive or dead; nothing is refreshed or removed")
	}
}

// SharedRoot reports whether the root counts as shared, and why. It is decided when the
// collector is made, and again when the root is found and before each pass.
func (c *Collector) SharedRoot() (shared bool, because string) {
	s := c.prober.scope.Load()
	return s.shared, s.because
}

// seenSinceSpawn reports whether a collector has seen the daemon alive: then the sidecar has
// a last_seen_unix_ms of its own, later than spawned_at_unix_ms.
func seenSinceSpawn(e daemondir.Entry) bool {
	return e.LastSeen.Known && (!e.SpawnedAt.Known || e.LastSeen.MS > e.SpawnedAt.MS)
}

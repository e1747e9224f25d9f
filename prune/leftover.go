package prune

// What an interrupted removal left: a dir under its quarantined name.

import (
	"errors"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir"
)

// finish deals with a quarantined dir that an interrupted removal left: it is judged
// again, and removed or given its name back.
func (m *remover) finish(hidden string) removal {
	if m.scope.Load().foreign != nil {
		return removal{kept: UnknownLiveness, hidden: hidden} // it cannot be judged
	}
	e, err := daemondir.Read(m.root.Path("."), hidden)
	if err != nil {
		return fail(err)
	}
	if e.Problem != daemondir.ProblemNone {
		return m.finishInvalid(e)
	}
	r := m.remove(e)
	// What cannot be removed as a whole gets its name back, too, like all that is kept: the
	// next sweep says what is in the way.
	var obstacle *fsys.Obstacle
	refused := r.err != nil && !errors.As(r.err, &obstacle)
	if r.kept == "" || r.kept == Gone || refused || r.putBack || r.hidden != "" || m.dryRun {
		return r
	}
	if r.kept == InUse || r.kept == RecentlyWritten {
		// Is that a file which we have removed already, and somebody has open?
		if open, _, err := m.root.Left(hidden); open || err != nil {
			r.hidden = hidden
			return r
		}
	}
	r.err = nil // of an obstacle
	return m.restore(hidden, r)
}

// finishInvalid deals with a quarantined dir that has no usable sidecar. A removal begins
// with a good one, and it goes last; but the dir may be junk whose removal was interrupted.
// It must then become junk once more, under its quarantined name, because what is left of
// it may not look like a daemon dir.
func (m *remover) finishInvalid(e daemondir.Entry) removal {
	r := removal{kept: Reason(e.Problem.String())}
	if e.Problem == daemondir.ProblemNoSidecar {
		r = m.finishEmpty(e.Name)
	}
	if r.kept == Reason(e.Problem.String()) && m.judge(e, Liveness{}).Decision == Remove {
		r = m.remove(e)
	}
	if r.kept != "" && r.kept != Gone {
		r.hidden = e.Name
	}
	return r
}

// finishEmpty removes a quarantined dir without a sidecar. The sidecar goes last, so
// what has none is empty, or it is not ours.
func (m *remover) finishEmpty(hidden string) removal {
	switch open, other, err := m.root.Left(hidden); {
	case err != nil:
		return fail(err)
	case other:
		return keep(NotADaemonDir)
	case open:
		return keep(InUse)
	case m.dryRun:
		return removal{}
	}
	if err := m.rmdir(hidden); err != nil {
		return fail(err)
	}
	return removal{Freed: fsys.Freed{Files: 1}}
}

package prune

// What an interrupted removal left: a dir under its quarantined name.

import (
	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir"
)

// finish deals with a quarantined dir that an interrupted removal left: it is judged
// again, and removed or given its name back.
func (m *remover) finish(hidden string) removal {
	e, err := daemondir.Read(m.root.Path("."), hidden)
	switch {
	case err != nil:
		return fail(err)
	case e.Problem == daemondir.ProblemNoSidecar:
		return m.finishEmpty(hidden)
	case e.Problem != daemondir.ProblemNone:
		// Nothing that we left: our removals begin with a good sidecar, and it goes last.
		return removal{kept: Reason(e.Problem.String()), hidden: hidden}
	}
	r := m.remove(e)
	if r.kept == "" || r.kept == Gone || r.err != nil || r.hidden != "" || m.dryRun {
		return r
	}
	if r.kept == InUse {
		// By whoever has a file open that we have removed already?
		if open, _, err := m.root.Left(hidden); open || err != nil {
			r.hidden = hidden
			return r
		}
	}
	return m.restore(hidden, r.kept)
}

// finishEmpty removes a quarantined dir without a sidecar. The sidecar goes last, so
// what has none is empty, or it is not ours.
func (m *remover) finishEmpty(hidden string) removal {
	switch open, other, err := m.root.Left(hidden); {
	case err != nil:
		return fail(err)
	case other:
		return removal{kept: NotADaemonDir, hidden: hidden}
	case open:
		return removal{kept: InUse, hidden: hidden}
	case m.dryRun:
		return removal{}
	}
	if err := m.root.Remove(hidden); err != nil {
		return fail(err)
	}
	return removal{Freed: fsys.Freed{Files: 1}}
}

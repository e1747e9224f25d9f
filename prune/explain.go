package prune

import (
	"fmt"
	"time"

	"runtimegc/prune/internal/proc"
	"runtimegc/registry/daemondir"
)

// A Check is one of those that decide what becomes of a daemon dir.
type Check string

// The checks, in the order in which they are made. The first ones determine the state of
// the daemon, those from CheckProtected on what may become of a dead one's dir.
const (
	CheckSidecar   Check = "sidecar"    // is there one that can be used?
	CheckPIDFile   Check = "pid_file"   // does it hold a pid?
	CheckProcess   Check = "process"    // does it exist?
	CheckZombie    Check = "zombie"     // has it exited, unwaited for?
	CheckThread    Check = "thread"     // is the pid a thread's?
	CheckStart     Check = "start_time" // did it start when the daemon was spawned?
	CheckProgram   Check = "program"    // does it lie in the daemon dir?
	CheckProtected Check = "protected"  // is it protected by a pattern or a mark?
	CheckLastSeen  Check = "last_seen"  // was it alive less than stale_after ago?
	CheckShape     Check = "shape"      // is it a real directory, the one that was judged?
	CheckMounts    Check = "mounts"     // is something mounted in it?
	CheckLock      Check = "lock"       // does somebody hold a flock(2) on it?
	CheckUsers     Check = "in_use"     // has a process its program, cwd or a file there?
	CheckContents  Check = "contents"   // can all of it be removed, is nothing in it new or open?
	CheckLastLook  Check = "last_look"  // read, probed and judged again: is all the same?
)

// An Outcome is what came of a [Check].
type Outcome string

// The outcomes. One that determines the state is called like it: alive, dead, unknown,
// invalid.
const (
	Passed       Outcome = "passed"  // nothing is determined by it, nothing against a removal
	Kept         Outcome = "keep"    // the dir stays because of it
	Undetermined Outcome = "untold"  // it cannot be told now; a removal checks again
	Skipped      Outcome = "skipped" // decided before; the details are what is known all the same
)

// A CheckResult is one check of one daemon dir, and its outcome.
type CheckResult struct {
	Check   Check   `json:"check"`
	Outcome Outcome `json:"outcome"`
	Reason  Reason  `json:"reason,omitempty"` // of an outcome that decides something
	Details string  `json:"details"`          // in words; may quote a path or a pattern
}

// An Explanation is all that is known of one daemon dir: the object of `list --json
// NAME`.
type Explanation struct {
	Row                  // with the decision that a sweep would come to now
	Checks []CheckResult `json:"checks"` // in the order in which a sweep makes them
}

// Explain judges one entry of the registry as a sweep would, and tells the outcome of
// every check that decides, those included that a sweep would not come to. It changes
// nothing, takes no lock, and may be called while Run runs. It reports false if there is no
// such entry.
func (c *Collector) Explain(name string) (Explanation, bool) {
	e, ok := c.reg.Get(name)
	if !ok {
		return Explanation{}, false
	}
	c.updateScope()
	now, staleAfter := c.now(), c.Times().StaleAfter
	var l Liveness
	checks := []CheckResult{explainSidecar(e, now, staleAfter)}
	if e.Problem == daemondir.ProblemNone {
		ev, handle := c.gather(e, e.PID, c.path(name), nil)
		handle.Close()
		l = ev.classify()
		checks = append(checks, ev.explain(e.PID)...)
	}
	checks = append(checks, c.explainProtected(e, now, staleAfter), explainLastSeen(e, now, staleAfter))
	it := item{entry: e, row: c.row(e, l, now, staleAfter)}
	w := &worker{Collector: c, staleAfter: staleAfter, dryRun: true}
	defer w.close()
	due := it.row.Decision == Remove
	if m, err := w.openRemover(); err != nil {
		for _, p := range protections {
			checks = append(checks, CheckResult{Check: p.check, Outcome: Undetermined, Details: err.Error()})
		}
		it.row.keep(fail(err))
	} else {
		checks = append(checks, m.explain(e, due)...)
		switch {
		case daemondir.Quarantined(name):
			it = w.finish(it).item
		case due:
			it = w.remove(it).item
		}
	}
	return Explanation{Row: it.row, Checks: checks}, true
}

// assumeDead is how the judge is asked about one of its conditions apart from the others.
var assumeDead = Liveness{State: Dead, Reason: Exited}

func explainSidecar(e daemondir.Entry, now time.Time, staleAfter time.Duration) CheckResult {
	v := Judge(e, assumeDead, now, staleAfter, false)
	if v.State == Invalid {
		return CheckResult{CheckSidecar, Outcome(v.State), v.Reason, v.Reason.Words()}
	}
	return CheckResult{CheckSidecar, Passed, "", "it is a JSON object"}
}

func (c *Collector) explainProtected(e daemondir.Entry, now time.Time, staleAfter time.Duration) CheckResult {
	by := c.protectedBy(e)
	e.Problem = daemondir.ProblemNone
	if v := Judge(e, assumeDead, now, staleAfter, by != ""); v.Reason == Protected {
		return CheckResult{CheckProtected, Kept, v.Reason, "by " + by}
	}
	return CheckResult{CheckProtected, Passed, "", "no pattern matches its name, and there is no mark"}
}

func explainLastSeen(e daemondir.Entry, now time.Time, staleAfter time.Duration) CheckResult {
	if e.Problem != daemondir.ProblemNone {
		return CheckResult{CheckLastSeen, Skipped, "", "nothing says when it was alive"}
	}
	v := Judge(e, assumeDead, now, staleAfter, false)
	if v.Reason == NoTimestamp {
		return CheckResult{CheckLastSeen, Kept, v.Reason, v.Reason.Words()}
	}
	outcome, reason := Passed, Reason("")
	if v.Decision != Remove {
		outcome, reason = Kept, v.Reason
	}
	seen := "in the future"
	if ms := unixMS(now); ms >= e.LastSeen.MS {
		seen = span(ms-e.LastSeen.MS) + " ago"
	}
	return CheckResult{CheckLastSeen, outcome, reason, fmt.Sprintf("it was last seen alive %s; %s must pass", seen, span(uint64(staleAfter.Milliseconds())))}
}

// span writes a number of milliseconds.
func span(ms uint64) string { return FormatDuration(DurationOfMS(float64(ms)), 2) }

// explain makes all checks of the process of that pid.
func (e *evidence) explain(pid daemondir.PID) []CheckResult {
	var checks []CheckResult
	determined := false
	for _, check := range livenessChecks {
		c := CheckResult{Check: check.check, Outcome: Skipped, Details: e.describe(check.check, pid)}
		if !determined {
			c.Outcome = Passed
			if state, reason := check.decide(e); state != "" {
				determined = true
				c.Outcome, c.Reason = Outcome(state), reason
				if reason == NeverSeen {
					c.Details += "; but the root is shared, so it may run elsewhere, and no collector has seen it alive since it was spawned"
				}
			}
		}
		checks = append(checks, c)
	}
	return checks
}

// describe says in words what is known about one check of a process; it decides nothing.
func (e *evidence) describe(check Check, pid daemondir.PID) string {
	described := e.Exists && !e.Zombie && !e.Thread
	switch check {
	case CheckPIDFile:
		if e.noPID {
			return NoPID.Words()
		}
		return fmt.Sprintf("pid %d", pid.N)
	case CheckProcess:
		switch {
		case e.Err != nil:
			return e.Err.Error()
		case e.noPID:
		case !e.Exists:
			return fmt.Sprintf("no process has pid %d", pid.N)
		default:
			return fmt.Sprintf("pid %d exists", pid.N)
		}
	case CheckZombie:
		switch {
		case e.Zombie:
			return "it is one"
		case e.Exists && e.Err == nil:
			return "it is none"
		}
	case CheckThread:
		switch {
		case e.Thread:
			return fmt.Sprintf("%d is a thread's number", pid.N)
		case described && e.Err == nil:
			return "it is a process"
		}
	case CheckStart:
		switch {
		case !described || e.Err != nil:
		case !e.spawnedAt.Known:
			return "the sidecar does not say when the daemon was spawned, so any process counts"
		case !e.startedAt.Known:
			return "its start time is not known: " + e.doubt().Error()
		case e.startedAt.MS < e.spawnedAt.MS:
			return fmt.Sprintf("it started %s before spawned_at_unix_ms; up to %v is allowed", span(e.spawnedAt.MS-e.startedAt.MS), startTolerance)
		default:
			return fmt.Sprintf("it started %s after spawned_at_unix_ms; up to %v is allowed", span(e.startedAt.MS-e.spawnedAt.MS), startTolerance)
		}
	case CheckProgram:
		switch {
		case !described || e.Err != nil:
		case e.Exe == proc.ExeInside:
			return "it lies in the directory"
		case e.Exe == proc.ExeElsewhere && e.stepped:
			return "it lies elsewhere, but the system clock was set, so the start time proves nothing"
		case e.Exe == proc.ExeElsewhere:
			return "it lies elsewhere"
		case e.Problem != nil:
			return "where it lies is not known: " + e.Problem.Error()
		default:
			return "where it lies is not known"
		}
	}
	return ""
}

// explain makes all checks that a removal of e would. Those of the contents and the last
// look it makes only if the dir is due: the first is not for the files of a live daemon, and
// the second is the judge's word once more.
func (m *remover) explain(e daemondir.Entry, due bool) []CheckResult {
	a := &attempt{e: e}
	defer a.close()
	var checks []CheckResult
	same := true
	for _, p := range protections {
		c := CheckResult{Check: p.check, Outcome: Skipped}
		switch {
		case !same:
			c.Details = "it is no longer the directory that was read"
		case !due && (p.check == CheckContents || p.check == CheckLastLook):
			c.Details = "it is not due"
		default:
			f := p.make(m, a)
			same = same && (p.check != CheckShape || f.kept == "")
			c.Outcome, c.Reason, c.Details = Passed, f.kept, f.details
			switch {
			case f.kept != "":
				c.Outcome = Kept
			case f.undetermined != nil:
				c.Outcome, c.Details = Undetermined, f.undetermined.Error()
			}
			switch {
			case c.Details != "":
			case f.err != nil:
				c.Details = f.err.Error()
			case f.kept != "":
				c.Details = f.kept.Words()
			default:
				c.Details = nothingFound[p.check]
			}
		}
		checks = append(checks, c)
	}
	return checks
}

// nothingFound words that a protection has found no reason to keep a dir.
var nothingFound = map[Check]string{
	CheckShape:    "it is a directory in the root, and the same as when it was read",
	CheckMounts:   "nothing is mounted in it",
	CheckLock:     "nobody holds a lock on it",
	CheckUsers:    "no process has its program, working directory or an open file there",
	CheckContents: "all of it can be removed, and nothing in it was written recently or is open elsewhere",
	CheckLastLook: "read, probed and judged again, it is the same",
}

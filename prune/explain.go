package prune

import (
	"fmt"
	"time"

	"runtimegc/registry/daemondir"
)

// A Question is one of those that decide what becomes of a daemon dir.
type Question string

// The questions, in the order in which they are asked. The first ones settle the state
// of the daemon, those from AskProtected on what may become of a dead one's dir.
const (
	AskSidecar   Question = "sidecar"    // is there one that can be used?
	AskPIDFile   Question = "pid_file"   // does it hold a pid?
	AskProcess   Question = "process"    // does it exist?
	AskZombie    Question = "zombie"     // has it exited, unwaited for?
	AskThread    Question = "thread"     // is the pid a thread's?
	AskStart     Question = "start_time" // did it start when the daemon was spawned?
	AskProgram   Question = "program"    // does it lie in the daemon dir?
	AskProtected Question = "protected"  // does a pattern protect the name?
	AskLastSeen  Question = "last_seen"  // was it alive less than stale_after ago?
	AskShape     Question = "shape"      // is it a real directory, the one that was judged?
	AskMounts    Question = "mounts"     // is something mounted in it?
	AskLock      Question = "lock"       // does somebody hold a flock(2) on it?
	AskUsers     Question = "in_use"     // has a process its program, cwd or a file there?
	AskLastLook  Question = "last_look"  // read, probed and judged again: is all the same?
)

// An Answer is what came of a [Question].
type Answer string

// The answers. Those that settle the state are called like it: alive, dead, unknown,
// invalid.
const (
	Passed  Answer = "passed"  // nothing is settled by it, nothing against a removal
	Kept    Answer = "keep"    // the dir stays because of it
	Untold  Answer = "untold"  // it cannot be told now; a removal asks again
	Skipped Answer = "skipped" // settled before; the details are what is known all the same
)

// A Check is one question about one daemon dir, and its answer.
type Check struct {
	Question Question `json:"check"`
	Answer   Answer   `json:"outcome"`
	Reason   Reason   `json:"reason,omitempty"` // of an answer that settles something
	Details  string   `json:"details"`          // in words; may quote a path or a pattern
}

// An Explanation is all that is known of one daemon dir: the object of `list --json
// NAME`.
type Explanation struct {
	Row            // with the decision that a sweep would come to now
	Checks []Check `json:"checks"` // in the order in which a sweep asks
}

// Explain judges one entry of the registry as a sweep would, and tells of every
// question that decides, those included that a sweep would not come to. It changes
// nothing and takes no lock. It reports false if there is no such entry.
func (c *Collector) Explain(name string) (Explanation, bool) {
	e, ok := c.opts.Registry.Get(name)
	if !ok {
		return Explanation{}, false
	}
	now := c.now()
	var l Liveness
	checks := []Check{c.explainSidecar(e, now)}
	if e.Problem == daemondir.ProblemNone {
		f, fd := c.gather(e, e.PID, c.path(name), nil)
		(&held{fd: fd}).release()
		l = classify(f, e.SpawnedAt, now)
		checks = append(checks, explainLiveness(newEvidence(f, e.SpawnedAt, now), e.PID)...)
	}
	checks = append(checks, c.explainProtected(e, now), c.explainLastSeen(e, now))
	x := Explanation{Row: c.row(e, l, now)}
	m, err := c.newRemover(true, nil)
	if err != nil {
		for _, p := range protections {
			checks = append(checks, Check{Question: p.check, Answer: Untold, Details: err.Error()})
		}
		x.keep(fail(err))
	} else {
		defer m.close()
		checks = append(checks, m.explain(e, x.Decision == Remove)...)
		m.foresee(&x.Row, e)
	}
	x.Checks = checks
	return x, true
}

// were is how the judge is asked about one of its conditions apart from the others: the
// daemon would be dead.
var were = Liveness{State: Dead, Reason: Exited}

func (c *Collector) explainSidecar(e daemondir.Entry, now time.Time) Check {
	v := Judge(e, were, now, c.opts.StaleAfter, false)
	if v.State == Invalid {
		return Check{AskSidecar, Answer(v.State), v.Reason, v.Reason.Words()}
	}
	return Check{AskSidecar, Passed, "", "it is a JSON object"}
}

func (c *Collector) explainProtected(e daemondir.Entry, now time.Time) Check {
	pattern := c.protects.first(e.Name)
	e.Problem = daemondir.ProblemNone
	if v := Judge(e, were, now, c.opts.StaleAfter, pattern != ""); v.Reason == Protected {
		return Check{AskProtected, Kept, v.Reason, fmt.Sprintf("pattern %q matches its name", pattern)}
	}
	return Check{AskProtected, Passed, "", "no pattern matches its name"}
}

func (c *Collector) explainLastSeen(e daemondir.Entry, now time.Time) Check {
	if e.Problem != daemondir.ProblemNone {
		return Check{AskLastSeen, Skipped, "", "nothing says when it was alive"}
	}
	v := Judge(e, were, now, c.opts.StaleAfter, false)
	if v.Reason == NoTimestamp {
		return Check{AskLastSeen, Kept, v.Reason, v.Reason.Words()}
	}
	answer, reason := Passed, Reason("")
	if v.Decision != Remove {
		answer, reason = Kept, v.Reason
	}
	seen := "in the future"
	if ms := unixMS(now); ms >= e.LastSeen.MS {
		seen = span(ms-e.LastSeen.MS) + " ago"
	}
	return Check{AskLastSeen, answer, reason, fmt.Sprintf("it was last seen alive %s; %s must pass", seen, span(uint64(c.opts.StaleAfter.Milliseconds())))}
}

// span writes a number of milliseconds.
func span(ms uint64) string { return FormatDuration(DurationOfMS(float64(ms)), 2) }

// explainLiveness asks all the questions about the process of that pid.
func explainLiveness(ev evidence, pid daemondir.PID) []Check {
	var checks []Check
	settled := false
	for _, q := range questions {
		c := Check{Question: q.check, Answer: Skipped, Details: ev.say(q.check, pid)}
		if !settled {
			c.Answer = Passed
			if state, reason := q.ask(&ev); state != "" {
				settled = true
				c.Answer, c.Reason = Answer(state), reason
			}
		}
		checks = append(checks, c)
	}
	return checks
}

// say words what is known of one question about a process; it decides nothing.
func (e *evidence) say(q Question, pid daemondir.PID) string {
	described := e.exists && !e.zombie && !e.thread
	switch q {
	case AskPIDFile:
		if e.noPID {
			return NoPID.Words()
		}
		return fmt.Sprintf("pid %d", pid.N)
	case AskProcess:
		switch {
		case e.noPID:
		case e.err != nil:
			return e.err.Error()
		case !e.exists:
			return fmt.Sprintf("no process has pid %d", pid.N)
		default:
			return fmt.Sprintf("pid %d exists", pid.N)
		}
	case AskZombie:
		switch {
		case e.zombie:
			return "it is one"
		case e.exists && e.err == nil:
			return "it is none"
		}
	case AskThread:
		switch {
		case e.thread:
			return fmt.Sprintf("%d is a thread's number", pid.N)
		case described && e.err == nil:
			return "it is a process"
		}
	case AskStart:
		switch {
		case !described || e.err != nil:
		case !e.spawnedAt.Known:
			return "the sidecar does not say when it was spawned, so any process will do"
		case !e.startedAt.Known:
			return "when it started is not known: " + e.doubt().Error()
		case e.startedAt.MS < e.spawnedAt.MS:
			return fmt.Sprintf("it started %s before the sidecar says so; %v are allowed", span(e.spawnedAt.MS-e.startedAt.MS), startTolerance)
		default:
			return fmt.Sprintf("it started %s after the sidecar says so; %v are allowed", span(e.startedAt.MS-e.spawnedAt.MS), startTolerance)
		}
	case AskProgram:
		switch {
		case !described || e.err != nil:
		case e.exe == exeInside:
			return "it lies in the directory"
		case e.exe == exeElsewhere && e.stepped:
			return "it lies elsewhere, but the clock was set, so the start says nothing"
		case e.exe == exeElsewhere:
			return "it lies elsewhere"
		case e.problem != nil:
			return "where it lies is not known: " + e.problem.Error()
		default:
			return "where it lies is not known"
		}
	}
	return ""
}

// explain asks all that a removal of e would; the last look only if the dir is due,
// because it is the judge's answer once more.
func (m *remover) explain(e daemondir.Entry, due bool) []Check {
	a := &attempt{e: e}
	defer a.close()
	var checks []Check
	same := true
	for _, p := range protections {
		c := Check{Question: p.check, Answer: Skipped}
		switch {
		case !same:
			c.Details = "it is not the directory that was read"
		case p.check == AskLastLook && !due:
			c.Details = "it is not due"
		default:
			f := p.ask(m, a)
			same = same && (p.check != AskShape || f.kept == "")
			c.Answer, c.Reason, c.Details = Passed, f.kept, f.details
			switch {
			case f.kept != "":
				c.Answer = Kept
			case f.untold != nil:
				c.Answer, c.Details = Untold, f.untold.Error()
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
var nothingFound = map[Question]string{
	AskShape:    "it is a directory in the root, and the same as when it was read",
	AskMounts:   "nothing is mounted in it",
	AskLock:     "nobody holds a lock on it",
	AskUsers:    "no process has its program, working directory or an open file there",
	AskLastLook: "read, probed and judged once more, it is the same",
}

// foresee makes row say what removing e would come to, if the judge wants that, or if
// it is what an interrupted removal left.
func (m *remover) foresee(row *Row, e daemondir.Entry) {
	var r removal
	switch {
	case daemondir.Quarantined(e.Name):
		row.Decision, row.Reason = Remove, Leftover
		r = m.finish(e.Name)
	case row.Decision == Remove:
		r = m.remove(e)
	}
	if r.kept != "" {
		row.keep(r)
	}
}

package prune

// Is the process in the pid file the daemon's, and is it alive? Package proc asks the
// system; this file draws the conclusions.

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"runtimegc/prune/internal/proc"
	"runtimegc/registry/daemondir"
)

const (
	// startTolerance is the greatest difference between a process's start and the sidecar's
	// spawned_at_unix_ms: the original's 5 s. Measured over 200 spawns: -37 to +51 ms; -1022
	// to -25 ms if the start is gopsutil's, which is truncated to a whole second twice.
	startTolerance = 5 * time.Second

	// earliestStart is the year 2000, in ms since the epoch. If gopsutil cannot read the
	// uptime, it returns 1970 and no error.
	earliestStart = 946_684_800_000
)

// evidence is what the liveness is derived from.
type evidence struct {
	proc.Facts
	scope                         // where the pid is known, and where the daemon may be
	noPID     bool                // there is no pid, so nothing else is known
	seenAlive bool                // a collector has seen the daemon alive since it was spawned
	stepped   bool                // the wall clock was set, so the start need not match
	spawnedAt daemondir.Timestamp // of the sidecar
	startedAt daemondir.Timestamp // Start, if it is plausible
}

func newEvidence(f proc.Facts, spawnedAt daemondir.Timestamp, now time.Time) evidence {
	e := evidence{Facts: f, spawnedAt: spawnedAt}
	if f.Start.Known && f.Start.MS >= earliestStart && f.Start.MS <= unixMS(now.Add(startTolerance)) {
		e.startedAt = f.Start
	}
	return e
}

// livenessChecks are made one after the other, until one determines the state:
//
//	alive    exists, no zombie, no thread, and: start within 5 s of spawned_at, or no
//	         spawned_at, or its exe lies inside the daemon dir
//	dead     does not exist; or a zombie; or a thread (a process keeps its pid for life,
//	         so the daemon's is gone); or the start does not match, although the clock
//	         was not set, and the exe lies elsewhere, or the process is another user's
//	unknown  anything else; and in a shared root what is dead by its pid, if no collector
//	         has seen it alive since it was spawned: it may run elsewhere
//
// explain.go describes their outcomes.
var livenessChecks = [...]struct {
	check  Check
	decide func(*evidence) (State, Reason) // no state: the next check decides
}{
	{CheckPIDFile, func(e *evidence) (State, Reason) {
		// Who uses the dir of a daemon without a pid is not known without a /proc of our own.
		if e.noPID && e.foreign == nil {
			return Dead, NoPID
		}
		return "", ""
	}},
	{CheckProcess, func(e *evidence) (State, Reason) {
		switch {
		case e.Err != nil:
			return Unknown, UnknownLiveness
		case !e.Exists:
			return e.dead(Exited)
		}
		return "", ""
	}},
	{CheckZombie, func(e *evidence) (State, Reason) {
		if e.Zombie {
			return e.dead(Zombie)
		}
		return "", ""
	}},
	{CheckThread, func(e *evidence) (State, Reason) {
		if e.Thread {
			return e.dead(PIDReused)
		}
		return "", ""
	}},
	{CheckStart, func(e *evidence) (State, Reason) {
		if e.startMatches() {
			return Alive, Running
		}
		return "", ""
	}},
	{CheckProgram, func(e *evidence) (State, Reason) {
		switch {
		case e.Exe == proc.ExeInside:
			return Alive, Running
		case e.startedAt.Known && e.Exe == proc.ExeElsewhere && !e.stepped:
			return e.dead(PIDReused)
		case (e.startedAt.Known || !e.Start.Known) && e.Foreign && !e.stepped:
			// As an ordinary user one is not told where another's program lies, and under hidepid
			// not even when it started. The boot time decides nothing here: on a board without a
			// clock the wall time jumps by years after the boot, when daemons run already.
			return e.dead(PIDReused)
		}
		return Unknown, UnknownLiveness
	}},
}

// dead is what follows if the pid is not that of a live daemon here, for that reason. In a
// shared root it may be a pid of another host or pid namespace, and the daemon be alive
// there. Then its last_seen is the evidence: the collector there refreshes it as long as the
// daemon lives, so one that was seen, and is stale, is dead.
func (e *evidence) dead(reason Reason) (State, Reason) {
	if e.shared && !e.seenAlive {
		return Unknown, NeverSeen
	}
	return Dead, reason
}

// classify derives the liveness from the evidence. It is pure.
func (e *evidence) classify() Liveness {
	for _, c := range livenessChecks {
		switch state, reason := c.decide(e); state {
		case "":
		case Dead:
			return Liveness{State: Dead, Reason: reason}
		case Alive:
			return Liveness{State: Alive, Reason: reason, StartedAt: e.startedAt}
		default:
			if reason == NeverSeen {
				return Liveness{State: state, Reason: reason} // which says it all
			}
			return Liveness{State: state, Reason: reason, StartedAt: e.startedAt, Err: e.doubt()}
		}
	}
	return Liveness{State: Unknown, Reason: UnknownLiveness, Err: e.doubt()}
}

// doubt says why the liveness is unknown.
func (e *evidence) doubt() error {
	switch {
	case e.Err != nil:
		return e.Err
	case !e.startedAt.Known && e.Start.Known:
		return fmt.Errorf("implausible start time %d ms after the epoch", e.Start.MS)
	case e.Problem != nil:
		return e.Problem
	case e.stepped:
		return errors.New("start time does not match, but the clock was set")
	}
	return errors.New("start time does not match, and the executable is not known")
}

// startMatches reports whether the start alone shows that the daemon is alive.
func (e *evidence) startMatches() bool {
	difference := max(e.startedAt.MS, e.spawnedAt.MS) - min(e.startedAt.MS, e.spawnedAt.MS)
	return !e.spawnedAt.Known || e.startedAt.Known && difference <= uint64(startTolerance.Milliseconds())
}

// A process is the result of probing a daemon. A live one has a handle, if the system has
// them: then it stays verified until the handle reports its exit.
type process struct {
	*Liveness // never nil, and never modified
	pid       daemondir.PID
	handle    proc.Handle
}

var noProcess = process{Liveness: new(Liveness), handle: proc.NoHandle}

// theDead are what is known of most daemons: of 100,000, it takes no memory for each.
var theDead = map[Reason]*Liveness{
	Exited:    {State: Dead, Reason: Exited},
	Zombie:    {State: Dead, Reason: Zombie},
	PIDReused: {State: Dead, Reason: PIDReused},
	NoPID:     {State: Dead, Reason: NoPID},
}

// newProcess returns what a probe of pid has found.
func newProcess(l Liveness, pid daemondir.PID, handle proc.Handle) process {
	if same := theDead[l.Reason]; same != nil && *same == l {
		return process{same, pid, handle}
	}
	return process{&l, pid, handle}
}

// exited returns the liveness of a process whose handle reports its exit.
func (p *process) exited() (Liveness, bool) {
	switch exited, zombie := p.handle.Exited(); {
	case !exited:
		return Liveness{}, false
	case zombie:
		return Liveness{State: Dead, Reason: Zombie}, true
	}
	return Liveness{State: Dead, Reason: Exited}, true
}

func (p *process) close() {
	p.handle.Close()
	p.handle = proc.NoHandle
}

// A prober asks the system about daemons' processes. Any goroutine may use it.
type prober struct {
	now       func() time.Time
	clock     proc.Clock
	scope     *atomic.Pointer[scope] // nil: the root is not shared, and /proc is ours
	witnessed bool                   // this collector itself has seen the daemon alive
}

// probe finds out whether pid is the live process of the daemon e, whose path is dir.
func (p prober) probe(e daemondir.Entry, pid daemondir.PID, dir string) process {
	ev, handle := p.gather(e, pid, dir, func(start daemondir.Timestamp) bool {
		ev := newEvidence(proc.Facts{Start: start}, e.SpawnedAt, p.now())
		return ev.startMatches()
	})
	found := newProcess(ev.classify(), pid, handle)
	if found.State != Alive {
		found.close()
	}
	return found
}

// gather collects the evidence for probe, and a handle. If settles, which may be nil, returns
// true for the start, it does not ask for more.
func (p prober) gather(e daemondir.Entry, pid daemondir.PID, dir string, settles func(daemondir.Timestamp) bool) (evidence, proc.Handle) {
	var f proc.Facts
	handle := proc.NoHandle
	var s scope
	if p.scope != nil {
		s = *p.scope.Load()
	}
	if s.foreign != nil {
		f.Err = s.foreign
	} else if pid.Known && pid.N > 0 && pid.N <= math.MaxInt32 { // no process has any other number
		f, handle = proc.Inspect(pid.N, proc.Query{Dir: dir, ID: e.Dir, Settles: settles})
	}
	ev := newEvidence(f, e.SpawnedAt, p.now())
	ev.scope, ev.noPID, ev.seenAlive = s, !pid.Known, p.witnessed || seenSinceSpawn(e)
	ev.stepped = f.Exists && !f.Settled && p.clock.Stepped()
	return ev, handle
}

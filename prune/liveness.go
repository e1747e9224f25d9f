package prune

// Is the process that a pid file names the daemon's, and does it live? What the system
// tells is package proc's; what follows from it is here.

import (
	"errors"
	"fmt"
	"math"
	"time"

	"runtimegc/prune/internal/proc"

	"runtimegc/registry/daemondir"
)

const (
	// startTolerance is how far a process's start and the sidecar's spawned_at may be
	// apart: the original's 5 s. Measured over 200 spawns: -37 to +51 ms; -1022 to -25 ms
	// where the start is gopsutil's, which is truncated to a whole second twice.
	startTolerance = 5 * time.Second

	// earliestStart, in ms since the epoch, is the year 2000: gopsutil says 1970 without an
	// error when it cannot read the uptime.
	earliestStart = 946_684_800_000
)

// evidence is what liveness is judged by.
type evidence struct {
	proc.Facts
	noPID     bool                // there is no pid to ask about, and nothing else is known
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

// livenessChecks are made one after the other, until one determines whether the daemon
// lives:
//
//	alive    exists, no zombie, no thread, and: start within 5 s of spawned_at, or no
//	         spawned_at, or its exe lies inside the daemon dir
//	dead     does not exist; or a zombie; or a thread (a process keeps its pid for life,
//	         so the daemon's is gone); or the start does not match, though the clock was
//	         not set, and the exe lies elsewhere
//	unknown  all else
//
// The words of their outcomes are in explain.go.
var livenessChecks = [...]struct {
	check  Check
	decide func(*evidence) (State, Reason) // no state: the next one decides
}{
	{CheckPIDFile, func(e *evidence) (State, Reason) {
		if e.noPID {
			return Dead, NoPID
		}
		return "", ""
	}},
	{CheckProcess, func(e *evidence) (State, Reason) {
		switch {
		case e.Err != nil:
			return Unknown, UnknownLiveness
		case !e.Exists:
			return Dead, Exited
		}
		return "", ""
	}},
	{CheckZombie, func(e *evidence) (State, Reason) {
		if e.Zombie {
			return Dead, Zombie
		}
		return "", ""
	}},
	{CheckThread, func(e *evidence) (State, Reason) {
		if e.Thread {
			return Dead, PIDReused
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
			return Dead, PIDReused
		}
		return Unknown, UnknownLiveness
	}},
}

// classify turns evidence into a liveness. It is pure.
func (e *evidence) classify() Liveness {
	for _, c := range livenessChecks {
		switch state, reason := c.decide(e); state {
		case "":
		case Dead:
			return Liveness{State: Dead, Reason: reason}
		case Alive:
			return Liveness{State: Alive, Reason: reason, StartedAt: e.startedAt}
		default:
			return Liveness{State: state, Reason: reason, StartedAt: e.startedAt, Err: e.doubt()}
		}
	}
	return Liveness{State: Unknown, Reason: UnknownLiveness, Err: e.doubt()}
}

// doubt says what keeps a liveness from being known.
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

// startMatches says whether the start alone says that the daemon lives.
func (e *evidence) startMatches() bool {
	return !e.spawnedAt.Known || e.startedAt.Known && near(e.startedAt, e.spawnedAt)
}

func near(a, b daemondir.Timestamp) bool {
	return max(a.MS, b.MS)-min(a.MS, b.MS) <= uint64(startTolerance.Milliseconds())
}

// A process is a daemon's as a probe found it. A live one has a handle, if one could be
// had: then what was verified once stays true until the handle says that it has exited.
type process struct {
	Liveness
	pid    daemondir.PID
	handle proc.Handle
}

var noProcess = process{handle: proc.NoHandle}

// exited returns the liveness of a process that has exited by its handle's word.
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

// A prober asks the system about daemons' processes. Any goroutine may.
type prober struct {
	now   func() time.Time
	clock proc.Clock
}

// probe finds out whether pid is the live process of the daemon dir e, at path dir.
func (p prober) probe(e daemondir.Entry, pid daemondir.PID, dir string) process {
	ev, handle := p.gather(e, pid, dir, func(start daemondir.Timestamp) bool {
		ev := newEvidence(proc.Facts{Start: start}, e.SpawnedAt, p.now())
		return ev.startMatches()
	})
	found := process{Liveness: ev.classify(), pid: pid, handle: handle}
	if found.State != Alive {
		found.close()
	}
	return found
}

// gather collects the evidence for probe, and a handle. What settles says of the start may
// make the rest unnecessary; nil: all is asked.
func (p prober) gather(e daemondir.Entry, pid daemondir.PID, dir string, settles func(daemondir.Timestamp) bool) (evidence, proc.Handle) {
	var f proc.Facts
	handle := proc.NoHandle
	if pid.Known && pid.N > 0 && pid.N <= math.MaxInt32 { // any other number is nobody's
		f, handle = proc.Inspect(pid.N, proc.Query{Dir: dir, ID: e.Dir, Settles: settles})
	}
	ev := newEvidence(f, e.SpawnedAt, p.now())
	ev.noPID = !pid.Known
	ev.stepped = f.Exists && !f.Settled && p.clock.Stepped()
	return ev, handle
}

package prune

// Is the process that a pid file names the daemon's, and does it live? The only user
// of gopsutil, but for the table of who uses which dir (inuse.go).

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"runtimegc/registry/daemondir"

	"github.com/shirou/gopsutil/v3/process"
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

// facts are what the system tells of a pid.
type facts struct {
	noPID   bool // there is no pid to ask about, and nothing else is known
	exists  bool
	zombie  bool
	thread  bool  // the pid is a thread's, not a process's
	err     error // why exists, zombie or thread could not be told
	start   daemondir.Timestamp
	exe     whereabouts
	problem error // why start or exe is not known
	settled bool  // start settles it: exe and stepped were not asked for
	stepped bool  // the wall clock was set, so start need not match
}

// whereabouts is where a process's executable lies.
type whereabouts uint8

const (
	exeUnknown whereabouts = iota
	exeInside              // in the daemon dir: it is the trampoline
	exeElsewhere
)

// evidence is what a liveness is judged by.
type evidence struct {
	facts
	spawnedAt daemondir.Timestamp
	startedAt daemondir.Timestamp // start, if it is plausible at that time
}

func newEvidence(f facts, spawnedAt daemondir.Timestamp, now time.Time) evidence {
	e := evidence{facts: f, spawnedAt: spawnedAt}
	if f.start.Known && f.start.MS >= earliestStart && f.start.MS <= unixMS(now.Add(startTolerance)) {
		e.startedAt = f.start
	}
	return e
}

// questions are asked of the evidence one after the other, until an answer settles
// whether the daemon lives:
//
//	alive    exists, no zombie, no thread, and: start within 5 s of spawned_at, or no
//	         spawned_at, or its exe lies inside the daemon dir
//	dead     does not exist; or a zombie; or a thread (a process keeps its pid for life,
//	         so the daemon's is gone); or the start does not match, though the clock was
//	         not set, and the exe lies elsewhere
//	unknown  all else
//
// The words of an answer are in explain.go.
var questions = [...]struct {
	check Question
	ask   func(*evidence) (State, Reason) // no state: the next one is asked
}{
	{AskPIDFile, func(e *evidence) (State, Reason) {
		if e.noPID {
			return Dead, NoPID
		}
		return "", ""
	}},
	{AskProcess, func(e *evidence) (State, Reason) {
		switch {
		case e.err != nil:
			return Unknown, UnknownLiveness
		case !e.exists:
			return Dead, Exited
		}
		return "", ""
	}},
	{AskZombie, func(e *evidence) (State, Reason) {
		if e.zombie {
			return Dead, Zombie
		}
		return "", ""
	}},
	{AskThread, func(e *evidence) (State, Reason) {
		if e.thread {
			return Dead, PIDReused
		}
		return "", ""
	}},
	{AskStart, func(e *evidence) (State, Reason) {
		if e.startMatches() {
			return Alive, Running
		}
		return "", ""
	}},
	{AskProgram, func(e *evidence) (State, Reason) {
		switch {
		case e.exe == exeInside:
			return Alive, Running
		case e.startedAt.Known && e.exe == exeElsewhere && !e.stepped:
			return Dead, PIDReused
		}
		return Unknown, UnknownLiveness
	}},
}

// classify turns facts into a liveness. It is pure; now bounds a plausible start.
func classify(f facts, spawnedAt daemondir.Timestamp, now time.Time) Liveness {
	e := newEvidence(f, spawnedAt, now)
	for _, q := range questions {
		switch state, reason := q.ask(&e); state {
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
	case e.err != nil:
		return e.err
	case !e.startedAt.Known && e.start.Known:
		return fmt.Errorf("implausible start time %d ms after the epoch", e.start.MS)
	case e.problem != nil:
		return e.problem
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

// A held process is one that a probe found. On Linux it holds a pidfd, if one could be
// had: a pidfd never refers to another process, so what was verified once stays true
// until it says that the process has exited.
type held struct {
	Liveness
	pid daemondir.PID
	fd  int // pidfd, or -1
}

var nobody = held{fd: -1}

// A prober asks the system about processes.
type prober struct {
	now   func() time.Time
	clock clock
}

// probe finds out whether pid is the live process of the daemon dir e, at path dir.
func (p prober) probe(e daemondir.Entry, pid daemondir.PID, dir string) held {
	f, fd := p.gather(e, pid, dir, func(start daemondir.Timestamp) bool {
		evidence := newEvidence(facts{start: start}, e.SpawnedAt, p.now())
		return evidence.startMatches()
	})
	h := held{Liveness: classify(f, e.SpawnedAt, p.now()), pid: pid, fd: fd}
	if h.State != Alive {
		h.release()
	}
	return h
}

// gather collects the facts for probe, and a pidfd, or -1. What settles says of the start
// may make the rest unnecessary; nil: all is asked.
func (p prober) gather(e daemondir.Entry, pid daemondir.PID, dir string, settles func(daemondir.Timestamp) bool) (facts, int) {
	switch {
	case !pid.Known:
		return facts{noPID: true}, -1
	case pid.N == 0 || pid.N > math.MaxInt32:
		return facts{}, -1 // nobody's
	}
	f, fd := inspect(pid.N, settles, func(exe string) whereabouts { return locate(exe, dir, e.Dir) })
	f.stepped = f.exists && !f.settled && p.clock.stepped()
	return f, fd
}

// describe fills in start and, unless that settles it, exe of the process pid.
func (f *facts) describe(pid uint32, settles func(daemondir.Timestamp) bool, locate func(exe string) whereabouts) {
	// Not process.NewProcess: it asks for existence by os.FindProcess, which leaves a pidfd
	// open until the next garbage collection, and swallows the error of CreateTime.
	p := &process.Process{Pid: int32(pid)}
	start, startErr := startOf(p)
	if startErr == nil && start >= 0 {
		f.start = daemondir.At(uint64(start))
	}
	if f.settled = settles != nil && settles(f.start); f.settled {
		f.problem = startErr
		return
	}
	exe, exeErr := p.Exe()
	switch {
	case exeErr == nil:
		f.exe = locate(exe)
	case startErr == nil && errors.Is(exeErr, fs.ErrNotExist):
		// Its /proc is there, but there is no link: a kernel thread runs no executable
		// (proc_pid_exe(5)). After a reboot those have the pids that early daemons had.
		f.exe = exeElsewhere
	}
	f.problem = errors.Join(startErr, exeErr)
}

// locate says where exe lies with respect to the daemon dir dir, whose identity is id.
// The kernel shows an executable whose link is gone as "<path> (deleted)"; its
// directory is still to be read off.
func locate(exe, dir string, id daemondir.FileID) whereabouts {
	if strings.HasPrefix(exe, dir+string(filepath.Separator)) {
		return exeInside
	}
	info, err := os.Stat(filepath.Dir(exe))
	switch {
	case err != nil:
		return exeUnknown // another mount namespace's path, for instance
	case id != (daemondir.FileID{}) && daemondir.Identify(info) == id:
		return exeInside
	}
	return exeElsewhere
}

// Package proc asks the system about processes: whether one lives, when it started and
// where its program lies; who uses a directory; and at once when one exits.
// It knows nothing of what follows from the answers. It is the only user of gopsutil.
//
//	probe.go  one process, by its pid        exits_*.go  the exit of a process, at once
//	users.go  who uses which directory       clock.go    whether the wall clock was set
//	namespace.go  whether /proc belongs to our pid namespace
//
// Each file's system calls are in its _linux.go, its _windows.go or its _other.go; those of
// macOS and FreeBSD for exits in exits_kqueue.go. exits_budget.go is for systems where handles
// are descriptors, and within_other.go says whether a path leads into a directory. On Linux
// there are besides views_linux.go (a directory under the paths by which other processes see
// it), maps_linux.go (mapped files) and sockets_linux.go (bound sockets). Elsewhere a process is
// asked for in probe_windows.go, probe_darwin.go or probe_gopsutil.go, and users are looked for
// in users_lsof.go, with lsof.go, or users_windows.go.
package proc

import (
	"errors"

	"github.com/shirou/gopsutil/v3/process"

	"runtimegc/registry/daemondir"
)

// Facts are what the system tells of a pid. The zero Facts: there is no such process.
type Facts struct {
	Exists bool
	Zombie bool  // exited, and its parent has not waited for it
	Thread bool  // the pid is a thread's, not a process's
	Err    error // why Exists, Zombie or Thread could not be determined

	Start   daemondir.Timestamp // as the system says; it may be implausible
	Exe     Whereabouts
	Foreign bool  // Exe is not known, and its user is another than the owner of the directory
	Problem error // why Start or Exe is not known
	Settled bool  // Start settled it: Exe was not asked for
}

// Whereabouts is where a process's program lies.
type Whereabouts uint8

// The whereabouts.
const (
	ExeUnknown   Whereabouts = iota
	ExeInside                // in the directory of the query; or a file of that is mapped, by an emulator
	ExeElsewhere             // outside of it, or there is none (a kernel thread)
)

// A Query is what is asked of a process beyond its existence.
type Query struct {
	Dir string           // where its program may lie
	ID  daemondir.FileID // of Dir

	// Settles says whether that start makes the rest unnecessary; nil: all is asked.
	Settles func(start daemondir.Timestamp) bool
}

// Inspect gathers the facts about a pid. The [Handle] pins the process that they are about;
// the caller closes it. It is [NoHandle] when none could be had.
func Inspect(pid uint32, q Query) (Facts, Handle) { return inspect(pid, q) }

// describe fills in Start and, unless that settles it, Exe.
func (f *Facts) describe(pid uint32, q Query) {
	// Not process.NewProcess: it asks for existence by os.FindProcess, which leaves a pidfd
	// open until the next garbage collection, and swallows the error of CreateTime.
	p := &process.Process{Pid: int32(pid)}
	start, startErr := startOf(p)
	if startErr == nil && start >= 0 {
		f.Start = daemondir.At(uint64(start))
	}
	if f.Settled = q.Settles != nil && q.Settles(f.Start); f.Settled {
		f.Problem = startErr
		return
	}
	var exeErr error
	f.Exe, exeErr = q.whereabouts(p)
	f.Problem = errors.Join(startErr, exeErr)
}

// A Handle holds on to one process, and never refers to another one: what was verified once
// stays true until it says that the process has exited. It is a pidfd on Linux, a kqueue on
// macOS and FreeBSD, and a process handle on Windows.
type Handle int

// NoHandle holds nothing.
const NoHandle Handle = -1

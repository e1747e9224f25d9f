package prune

// The checks before a removal.

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"runtimegc/prune/internal/fsys"
	"runtimegc/prune/internal/proc"
	"runtimegc/registry/daemondir"
)

// A finding is what came of one check of an attempt.
type finding struct {
	kept         Reason    // empty: nothing against a removal
	err          error     // what the system refused, if it did; kept says how that counts
	details      string    // what was found, if there is more to say than the reason
	user         int32     // the pid of who uses the dir, or has locked it; 0: nobody, or it is not known
	undetermined error     // why a dry run cannot tell; a removal finds out
	notBefore    time.Time // if known: until then this check would find the same
}

// protections are the checks before a removal, in this order; the first that finds a
// reason to keep the dir ends it. [Collector.Explain] makes all of them.
var protections = [...]struct {
	check Check
	make  func(*remover, *attempt) finding
}{
	{CheckShape, (*remover).checkShape},
	{CheckMounts, (*remover).checkMounts},
	{CheckLock, (*remover).checkLock},
	{CheckUsers, (*remover).checkUsers},
	{CheckContents, (*remover).checkContents},
	{CheckLastLook, (*remover).checkLastLook},
}

// checkShape opens the dir: a real directory directly in the root, the one that was
// judged, on the root's device.
func (m *remover) checkShape(a *attempt) finding {
	d, err := m.root.Open(a.e.Name)
	if err != nil {
		return refusal(err)
	}
	a.d = d
	switch {
	case d.ID() != a.e.Dir:
		return finding{kept: Changed}
	case d.ID() == daemondir.FileID{}:
		return finding{kept: Failed, details: "its file system does not tell one directory from another"}
	case !m.root.SameDevice(d.ID()):
		return finding{kept: MountPoint, details: "it is on another device than the root"}
	case a.junk() && !m.looksLikeDaemons(a.e):
		return finding{kept: junkReason(a.e), details: "it has no sidecar, no pid file and no trampoline"}
	}
	return finding{}
}

// looksLikeDaemons reports whether a dir without a usable sidecar may have been made by a
// spawner. The quarantine prefix is ours alone.
func (m *remover) looksLikeDaemons(e daemondir.Entry) bool {
	return e.Problem != daemondir.ProblemNoSidecar || e.PIDFile != daemondir.Stamp{} || daemondir.Quarantined(e.Name) ||
		m.root.IsFile(e.Name, e.Name) || m.root.IsFile(e.Name, e.Name+".exe")
}

// refusal is the finding of a check that the system refused.
func refusal(err error) finding {
	r := fail(err)
	return finding{kept: r.kept, err: r.err}
}

func (m *remover) checkMounts(a *attempt) finding {
	reason, err := m.mounted(a.e.Name)
	return finding{kept: reason, err: err}
}

// mounted returns MountPoint if something is mounted in the dir name.
func (m *remover) mounted(name string) (Reason, error) {
	switch mounted, err := m.root.Mounted(name); {
	case err != nil:
		return Failed, err
	case mounted:
		return MountPoint, nil
	}
	return "", nil
}

// checkLock asks whether somebody holds a flock(2) on the dir: a manager protects it by
// LOCK_SH. The removal takes LOCK_EX itself, so that nobody can lock the dir from here
// on. A dry run must not: for that moment it would have a collector keep the dir, and
// a manager that does not wait miss its lock; and LOCK_SH, which would disturb less,
// is had beside the very locks that are looked for. It reads the kernel's table.
func (m *remover) checkLock(a *attempt) finding {
	if m.dryRun {
		return m.findLock(a.e)
	}
	unlock, err := m.root.Lock(a.d, a.e.Name)
	switch {
	case errors.Is(err, fsys.ErrLocked):
		found := m.findLock(a.e)
		found.kept = Locked // whoever it is
		return found
	case err != nil:
		return refusal(err)
	}
	a.unlock = unlock
	return finding{}
}

// findLock finds who holds a lock on the dir of e, in a table that is read once in a pass.
func (m *remover) findLock(e daemondir.Entry) finding {
	if m.locks == nil && m.locksErr == nil {
		m.locks, m.locksErr = m.root.Locks()
	}
	pid, held := m.locks[e.Dir.Ino]
	if !held {
		return finding{undetermined: m.locksErr}
	}
	user, _ := strconv.ParseInt(pid, 10, 32) // a number, as proc_locks(5) has it
	return finding{kept: Locked, user: int32(max(user, 0)), details: fmt.Sprintf("pid %s holds a lock on it", pid)}
}

// checkUsers looks whether anybody uses the dir. A dir that had another name when users were
// looked for, or was elsewhere, was shown under another path, so then it looks anew.
func (m *remover) checkUsers(a *attempt) finding {
	stood, err := m.root.StoodAt(a.e.Name, a.e.Dir, m.position)
	if err == nil && (!stood || m.usersOutdated()) {
		if stood {
			err = m.renewUsers()
		} else {
			time.Sleep(2 * fsys.Tick) // so that its time stamp is older than the look
			err = m.findUsers()
		}
		if err == nil {
			stood, err = m.root.StoodAt(a.e.Name, a.e.Dir, m.position)
		}
	}
	switch {
	case errors.Is(err, fsys.ErrReplaced):
		return finding{kept: Changed, details: "the runtime root was moved while its users were looked for"}
	case err != nil:
		return refusal(err)
	}
	if use, used := m.users.Of(a.e.Name); used {
		return finding{kept: InUse, details: use.String(), user: use.PID}
	}
	if !stood {
		return finding{kept: Changed, details: "it was moved or changed while its users were looked for"}
	}
	switch n := m.users.Unreadable; {
	case n == 1:
		return finding{details: "none found; 1 process of another user could not be inspected"}
	case n > 1:
		return finding{details: fmt.Sprintf("none found; %d processes of other users could not be inspected", n)}
	}
	return finding{}
}

// checkContents surveys all that is in the dir: whether the dir can be removed as a whole,
// whether a file was written within staleAfter (in junk: whether anything was written within
// invalidAfter, including directories and the spawner's files), and whether a file is open elsewhere or is a
// socket that is bound. A process that opens its log for each line has nothing open when we
// look, but it leaves a time of modification. Such a time can only keep a dir. One in the
// future keeps it as well, because it does not say when the file was written.
//
// A dry run makes the same survey. For that it opens files for reading, some microseconds
// each; whoever opens one of them meanwhile has to wait.
func (m *remover) checkContents(a *attempt) finding {
	var user proc.Use
	unwritten, reason := m.staleAfter, RecentlyWritten
	if a.junk() {
		unwritten, reason = m.invalidAfter, junkReason(a.e)
	}
	found, err := m.root.Survey(a.d, a.e.Name, fsys.SurveyOptions{
		WrittenAfter: m.now().Add(-unwritten),
		EveryTime:    a.junk(),
		Spawners:     func(file string) bool { return spawners(a.e.Name, file) },
		Sidecar:      daemondir.SidecarName(a.e.Name),
		Bound: func(ino uint64) (bound bool) {
			user, bound = m.users.OfSocket(ino)
			return bound
		},
	})
	switch {
	case err != nil:
		return refusal(err)
	case found.Obstacle != nil:
		return finding{
			kept:    reasonOf(found.Obstacle),
			err:     fmt.Errorf("%q cannot be removed: %w", m.root.Path(a.e.Name), found.Obstacle),
			details: found.Obstacle.Error(),
		}
	case found.Written != "":
		file, now := daemondir.Printable(found.Written), m.now()
		if found.At.After(now) {
			return finding{kept: reason, details: fmt.Sprintf("the modification time of %s is in the future", file)}
		}
		return finding{kept: reason, notBefore: found.At.Add(unwritten), details: fmt.Sprintf("%s was written %s ago; %s must pass",
			file, FormatDuration(now.Sub(found.At), 2), FormatDuration(unwritten, 2))}
	case found.Open != "":
		return finding{kept: InUse, details: fmt.Sprintf("a process has %s open, or mapped into memory", daemondir.Printable(found.Open))}
	case found.Bound != "":
		return finding{kept: InUse, details: user.String(), user: user.PID}
	}
	return finding{}
}

// spawners reports whether file in the daemon dir dirName is one that the spawner or
// runtimegc writes. Its modification time says no more than last_seen does.
func spawners(dirName, file string) bool {
	name := strings.TrimPrefix(dirName, daemondir.QuarantinePrefix)
	return daemondir.Concerns(dirName, file) || file == name || file == name+".exe"
}

// checkLastLook opens the sidecar and, but for a dry run, takes the lease: under it nobody
// rewrites the sidecar. Then it reads all again, probes again, and judges again.
func (m *remover) checkLastLook(a *attempt) finding {
	if a.noSidecar() {
		return finding{kept: m.lastLook(a)} // there is nothing to lease
	}
	open, err := fsys.OpenElsewhere(m.root.Path(filepath.Join(a.e.Name, daemondir.SidecarName(a.e.Name))))
	switch {
	case err != nil:
		return refusal(err)
	case open:
		return finding{kept: InUse, details: "its sidecar is open elsewhere"}
	}
	a.sidecar, err = a.d.OpenSidecar(daemondir.ReadOnly)
	switch {
	case errors.Is(err, daemondir.ErrBusy):
		return finding{kept: InUse, details: "its sidecar is being written"}
	case err != nil:
		return refusal(err)
	}
	if !m.dryRun {
		switch fsys.TakeLease(a.sidecar) {
		case nil:
			a.leased = true
		case fsys.ErrOpenElsewhere:
			return finding{kept: InUse, details: "its sidecar is open elsewhere"}
		}
	}
	kept := m.lastLook(a)
	if kept == "" && !fsys.HasLeases && !a.keepText() {
		kept = Changed
	}
	return finding{kept: kept}
}

// keepText keeps the sidecar's text, to be compared after the rename. It reports whether that
// says what was judged.
func (a *attempt) keepText() bool {
	text, parsed, problem := a.sidecar.Text()
	a.text = text
	return problem == a.e.Problem && parsed.SpawnedAt == a.e.SpawnedAt && parsed.Seen() == a.e.LastSeen
}

// lastLook reads and judges the dir once more and returns why it must stay. Without a usable
// sidecar, any process of the pid in the pid file may be the daemon.
func (m *remover) lastLook(a *attempt) Reason {
	fresh, err := a.read()
	if fsys.Busy(err) {
		return InUse // a file is being written, or another collector looks whether anybody has it open
	}
	if err != nil || fresh != a.e {
		if err == nil && (fresh.PID != a.e.PID || fresh.SpawnedAt != a.e.SpawnedAt) {
			return Respawned
		}
		return Changed
	}
	p := m.probe(fresh, fresh.PID, m.root.Path(a.e.Name))
	defer p.close()
	switch v := m.judge(fresh, *p.Liveness); {
	case v.Decision == Remove:
		return ""
	case v.State == Alive:
		return Respawned
	case v.State == Invalid && p.State != Dead:
		return UnknownLiveness
	default:
		return v.Reason
	}
}

package prune

import "runtimegc/registry/daemondir"

// A Reason is the code of why, as it stands in logs, tables and metrics. An invalid dir
// has the code of its [daemondir.Problem].
type Reason string

// Reasons for a state. A dead daemon's dir is removed for one of these.
const (
	Running   Reason = "running"
	Exited    Reason = "exited"
	Zombie    Reason = "zombie"
	PIDReused Reason = "pid_reused"
	NoPID     Reason = "no_pid"
)

// Reasons to keep a dir.
const (
	NotStale        Reason = "not_stale"
	NoTimestamp     Reason = "no_timestamp"
	Protected       Reason = "protected"
	UnknownLiveness Reason = "unknown_liveness"
	NeverSeen       Reason = "never_seen"
	InUse           Reason = "in_use"
	Locked          Reason = "locked"
	Respawned       Reason = "respawned"
	Changed         Reason = "changed"
	MountPoint      Reason = "mount_point"
	RecentlyWritten Reason = "recently_written"
	LowerLayer      Reason = "lower_layer"
	NotADaemonDir   Reason = "not_a_daemon_dir"
	Permission      Reason = "permission"
	Failed          Reason = "failed" // the error says why
	Gone            Reason = "gone"
)

// Leftover is the reason of a removal that was interrupted and is finished now.
const Leftover Reason = "leftover"

// The groups of reasons.
const (
	groupAlive    = "Alive"
	groupDead     = "Dead"
	groupNotYet   = "Dead, but not due for removal"
	groupUnknown  = "Neither alive nor dead for certain"
	groupKept     = "Due for removal, but kept by the last checks"
	groupLeftover = "Removed without being judged again"
	groupInvalid  = "Invalid: no usable sidecar, so it is left alone"
)

// A ReasonInfo describes one reason.
type ReasonInfo struct {
	Reason  Reason
	Group   string // when it applies; reasons of one group stand together
	Words   string // of a daemon or its directory: "its process has exited"
	Counted bool   // daemon.kept may give it, so it is counted
}

// reasons is the one table of all reasons: help, list, metrics and REFERENCE.md have theirs
// from here.
var reasons = [...]ReasonInfo{
	{Running, groupAlive, "its process is running", false},

	{Exited, groupDead, "its process has exited", false},
	{Zombie, groupDead, "its process has exited, and its parent has not waited for it", false},
	{PIDReused, groupDead, "its pid belongs to another process, or to a thread, by now", false},
	{NoPID, groupDead, "its pid file is missing or holds no pid", false},

	{NotStale, groupNotYet, "it has not been dead for long enough", false},
	{NoTimestamp, groupNotYet, "its sidecar does not say when it was last seen alive", false},
	{Protected, groupNotYet, "it is protected", true},

	{UnknownLiveness, groupUnknown, "whether its process is alive cannot be determined", true},
	{NeverSeen, groupUnknown, "its process is not here, and no collector has seen it alive since it was spawned", true},

	{InUse, groupKept, "a process uses the directory", true},
	{Locked, groupKept, "a process holds a lock on the directory", true},
	{Respawned, groupKept, "the daemon is being started again", true},
	{Changed, groupKept, "it changed while it was being looked at", true},
	{MountPoint, groupKept, "something is mounted in the directory", true},
	{RecentlyWritten, groupKept, "a file in it was written recently", true},
	{LowerLayer, groupKept, "it belongs to an image's lower layer, which cannot be changed", true},
	{Permission, groupKept, "permission to read or change it was denied", true},
	{Failed, groupKept, "the system reported an error", true},
	{Gone, groupKept, "somebody else removed it first", false},

	{Leftover, groupLeftover, "an interrupted removal left it behind", false},

	{NotADaemonDir, groupInvalid, "it has no sidecar", true},
	{problem(daemondir.ProblemEmpty), groupInvalid, "its sidecar is empty", false},
	{problem(daemondir.ProblemNotJSON), groupInvalid, "its sidecar is not valid JSON", false},
	{problem(daemondir.ProblemNotObject), groupInvalid, "its sidecar is JSON, but not an object", false},
	{problem(daemondir.ProblemNotRegular), groupInvalid, "its sidecar is not a regular file", false},
	{problem(daemondir.ProblemTooLarge), groupInvalid, "its sidecar is too large", false},
	{problem(daemondir.ProblemNoAnswer), groupInvalid, "the file system that is mounted there does not answer", false},
	{problem(daemondir.ProblemIO), groupInvalid, "it cannot be read", false},
}

func problem(p daemondir.Problem) Reason { return Reason(p.String()) }

// Reasons returns all reasons, those of one group together.
func Reasons() []ReasonInfo { return reasons[:] }

// Words returns the reason in words, for people: "its process has exited". A reason
// that is not in the table is returned as it is.
func (r Reason) Words() string {
	for _, info := range reasons {
		if info.Reason == r {
			return info.Words
		}
	}
	return string(r)
}

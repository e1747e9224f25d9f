package prune

import "runtimegc/registry/daemondir"

// words says each reason as one would, of a daemon or its directory.
var words = map[Reason]string{
	Running:   "its process runs",
	Exited:    "its process has exited",
	Zombie:    "its process has exited, and its parent has not waited for it",
	PIDReused: "its pid is another process's by now",
	NoPID:     "it has no pid file that holds a pid",

	NotStale:        "it was alive too recently",
	NoTimestamp:     "its sidecar does not say when it was alive",
	Protected:       "its name is protected",
	UnknownLiveness: "it cannot be told whether its process lives",
	InUse:           "a process uses the directory",
	Locked:          "somebody holds a lock on the directory",
	Respawned:       "it is being started again",
	Changed:         "it changed while it was looked at",
	MountPoint:      "something is mounted in the directory",
	NotADaemonDir:   "it has no sidecar",
	Permission:      "it may not be read or changed",
	Failed:          "the system said no",
	Gone:            "somebody else removed it first",
	Leftover:        "an interrupted removal left it",

	problem(daemondir.ProblemNotRegular): "its sidecar is no regular file",
	problem(daemondir.ProblemTooLarge):   "its sidecar is too large",
	problem(daemondir.ProblemEmpty):      "its sidecar is empty",
	problem(daemondir.ProblemNotJSON):    "its sidecar is no JSON",
	problem(daemondir.ProblemNotObject):  "its sidecar is JSON, but no object",
	problem(daemondir.ProblemIO):         "it cannot be read",
}

func problem(p daemondir.Problem) Reason { return Reason(p.String()) }

// Words returns the reason in words, for people: "its process has exited". A reason
// that has none is returned as it is.
func (r Reason) Words() string {
	if w, ok := words[r]; ok {
		return w
	}
	return string(r)
}

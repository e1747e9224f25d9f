package fsys

// takeTries is how often a lock is tried whose holder is not found: it may have been released
// before that was looked for.
const takeTries = 3

// A HeldError says that another process holds a lock, and what is known of that process.
type HeldError struct {
	PID     string // empty: it is not known
	Program string // its file name, without the directories; empty: it is not known

	// Elsewhere says that it is on another host or in another pid namespace, so that it does
	// not see our processes, or not as we do. It is false if that cannot be determined.
	Elsewhere bool
}

func (e *HeldError) Error() string {
	switch {
	case e.PID != "" && e.Program != "":
		return "pid " + e.PID + " (" + e.Program + ")"
	case e.PID != "" && e.Elsewhere:
		return "pid " + e.PID + ", in another pid namespace"
	case e.PID != "":
		return "pid " + e.PID
	case e.Elsewhere:
		return "a process on another host or in another pid namespace"
	}
	return "a process that is not visible from here"
}

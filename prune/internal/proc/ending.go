package proc

// An Ending is how a process has ended: by itself, with an exit code, or by a signal.
type Ending struct {
	Code   int
	Signal string // such as "SIGKILL"; empty: it exited with Code
}

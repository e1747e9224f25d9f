package proc

// An Ending is how a process has ended: by itself, with an exit code, or by a signal.
type Ending struct {
	Code   int    // as the system has it; on Windows it has 32 bits and no sign
	Signal string // such as "SIGKILL"; empty: it exited with Code
}

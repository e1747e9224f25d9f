package proc

import "time"

// An Exit is the end of a process, and when it was announced.
type Exit struct {
	Name string // as it was given to [Exits.Add]
	At   time.Time
}

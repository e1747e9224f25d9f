package prune

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"sync"

	"runtimegc/prune/internal/proc"
)

// An Ending is how a daemon's process has ended: by itself, with an exit code, or by a signal.
// It is known of processes that have ended while Run watched them: on Windows, and on Linux since
// 6.15 if their parent has reaped them at once, as an init does.
type Ending struct {
	Code   int    `json:"exit_code"` // on Windows of 32 bits without a sign, such as 3221225477
	Signal string `json:"signal"`    // such as "SIGKILL"; empty: it exited with Code
}

// MarshalJSON writes the one that it is: {"exit_code":3} or {"signal":"SIGKILL"}.
func (e Ending) MarshalJSON() ([]byte, error) {
	if e.Signal != "" {
		return json.Marshal(map[string]string{"signal": e.Signal})
	}
	return json.Marshal(map[string]int{"exit_code": e.Code})
}

func (e Ending) String() string {
	if e.Signal != "" {
		return "killed by " + e.Signal
	}
	return "exit code " + FormatExitCode(e.Code)
}

// FormatExitCode writes an exit code as its system does: that of an exception on Windows, such as
// 0xc0000005, which nobody knows in decimal, in hex.
func FormatExitCode(code int) string {
	if code := uint32(code); code >= 1<<16 {
		return fmt.Sprintf("%#x", code)
	}
	return strconv.Itoa(code)
}

// endings are those of the daemons that are dead now.
type endings struct {
	mu sync.Mutex // guards m
	m  map[string]Ending
}

func (e *endings) set(name string, ended *proc.Ending) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ended == nil {
		delete(e.m, name)
		return
	}
	if e.m == nil {
		e.m = make(map[string]Ending)
	}
	e.m[name] = Ending(*ended)
}

func (e *endings) of(name string) *Ending {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ended, known := e.m[name]; known {
		return &ended
	}
	return nil
}

// Endings are how the daemons that are dead now have ended, by name, as far as it is known. It
// copies only the names: there may be 100,000 of them.
func (c *Collector) Endings() iter.Seq2[string, Ending] {
	return func(yield func(string, Ending) bool) {
		c.endings.mu.Lock()
		names := slices.Collect(maps.Keys(c.endings.m))
		c.endings.mu.Unlock()
		for _, name := range names {
			if ended := c.endings.of(name); ended != nil && !yield(name, *ended) {
				return
			}
		}
	}
}

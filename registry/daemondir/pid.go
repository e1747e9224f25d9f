package daemondir

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// PIDFileName is the name of the pid file in every daemon dir.
const PIDFileName = "daemon.pid"

// maxPIDFileSize is how much of a pid file is read. The spawner writes at most 10
// bytes; a longer file is no pid.
const maxPIDFileSize = 64

// A PID is the content of a pid file, or unknown when there is none that parses.
// It has the range of the original, 0 to 2^32-1, wider than what any system hands
// out: whether such a process can exist is for the prober to say.
type PID struct {
	N     uint32
	Known bool
}

// MarshalJSON writes the number, or null when it is unknown.
func (p PID) MarshalJSON() ([]byte, error) {
	if !p.Known {
		return []byte("null"), nil
	}
	return strconv.AppendUint(nil, uint64(p.N), 10), nil
}

// ParsePID reads the text of a pid file by the rule of the original collector:
// valid UTF-8, white space around it trimmed, an optional plus sign, decimal digits,
// at most 2^32-1. Anything else is unknown.
func ParsePID(text []byte) PID {
	if len(text) > maxPIDFileSize || !utf8.Valid(text) {
		return PID{}
	}
	// Rust's u32::from_str takes one leading plus, and no sign else.
	digits := strings.TrimPrefix(strings.TrimSpace(string(text)), "+")
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return PID{}
	}
	return PID{N: uint32(n), Known: true}
}

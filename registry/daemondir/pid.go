package daemondir

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// PIDFileName is the name of the pid file in every daemon dir.
const PIDFileName = "daemon.pid"

// maxPIDFileSize is the size in bytes above which a pid file is not read, and counts as no
// pid. The spawner writes at most 10 bytes.
const maxPIDFileSize = 64

// A PID is the content of a pid file, or unknown if there is none that parses. It has the
// original's range, 0 to 2^32-1, which is wider than that of real pids; the prober checks
// whether a process can have it.
type PID struct {
	N     uint32
	Known bool
}

// MarshalJSON writes the number, or null if it is unknown.
func (p PID) MarshalJSON() ([]byte, error) {
	if !p.Known {
		return []byte("null"), nil
	}
	return strconv.AppendUint(nil, uint64(p.N), 10), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *PID) UnmarshalJSON(text []byte) error {
	var n *uint32
	if err := json.Unmarshal(text, &n); err != nil {
		return err
	}
	*p = PID{}
	if n != nil {
		*p = PID{N: *n, Known: true}
	}
	return nil
}

// ParsePID parses the text of a pid file as the original collector does: valid UTF-8, with
// white space around it trimmed, an optional plus sign, decimal digits, at most 2^32-1.
// Anything else is unknown.
func ParsePID(text []byte) PID {
	if len(text) > maxPIDFileSize || !utf8.Valid(text) {
		return PID{}
	}
	// Rust's u32::from_str accepts one leading plus, and no minus.
	digits := strings.TrimPrefix(strings.TrimSpace(string(text)), "+")
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil {
		return PID{}
	}
	return PID{N: uint32(n), Known: true}
}

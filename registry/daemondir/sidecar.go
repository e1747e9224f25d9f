package daemondir

// The sidecar as text: which JSON is accepted, where the timestamps stand, and
// how one number is replaced without touching another byte.

import (
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// MaxSidecarSize is the size in bytes above which a sidecar is not read
// ([ProblemTooLarge]). The spawner writes 1 to 100 KB (the daemon's environment);
// the original collector had no limit and could be made to eat all memory.
const MaxSidecarSize = 1 << 20

// maxDepth is how many arrays and objects may be open at once. The original's
// parser (serde_json) counts down from 128 and refuses at 0.
const maxDepth = 127

const (
	keySpawnedAt = "spawned_at_unix_ms"
	keyLastSeen  = "last_seen_unix_ms"
)

// A Timestamp is a point in time in milliseconds since the Unix epoch, or unknown.
// It has the range of the original, 0 to 2^64-1.
type Timestamp struct {
	MS    uint64
	Known bool
}

// At returns the known timestamp ms.
func At(ms uint64) Timestamp { return Timestamp{MS: ms, Known: true} }

// MarshalJSON writes the number, or null when it is unknown.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	if !t.Known {
		return []byte("null"), nil
	}
	return strconv.AppendUint(nil, t.MS, 10), nil
}

// Sidecar is what a sidecar's text says, and where.
type Sidecar struct {
	SpawnedAt Timestamp // spawned_at_unix_ms
	LastSeen  Timestamp // last_seen_unix_ms itself, without the fallback on SpawnedAt

	seenStart, seenEnd int // the value of the last last_seen_unix_ms; 0, 0: there is none
	indent             int // bytes of white space after the opening brace, which is at indentAt
	indentAt           int
	lastEnd            int // end of the last member; 0: the object is empty
}

// ParseSidecar reads the text of a sidecar by the rule of the original collector:
// one JSON object (RFC 8259) in valid UTF-8 without a byte order mark, at most 127
// levels deep, no lone surrogate escapes, no number beyond a float64; white space
// may follow, anything else may not. Of a key that occurs twice the last counts.
// Only a non-negative JSON integer up to 2^64-1 is a timestamp; any other value
// leaves it unknown. The problem returned is [ProblemNone], [ProblemEmpty],
// [ProblemNotJSON] or [ProblemNotObject].
//
// It is a scanner of our own for three reasons: encoding/json accepts lone
// surrogates and 10,000 levels, which the original refuses; a refresh needs the
// byte span of one value; and it runs while the spawner may be waiting on our
// lease, so it allocates nothing. FuzzParseSidecar holds it against encoding/json.
func ParseSidecar(text []byte) (Sidecar, Problem) {
	if len(text) == 0 {
		return Sidecar{}, ProblemEmpty
	}
	if !utf8.Valid(text) {
		return Sidecar{}, ProblemNotJSON
	}
	s := scanner{text: text}
	s.space()
	isObject := s.peek() == '{'
	ok := s.value(0)
	s.space()
	switch {
	case !ok || s.pos != len(text):
		return Sidecar{}, ProblemNotJSON
	case !isObject:
		return Sidecar{}, ProblemNotObject
	}
	return s.found, ProblemNone
}

// Seen returns when the daemon was last known to live: LastSeen, else SpawnedAt.
func (t Sidecar) Seen() Timestamp {
	if t.LastSeen.Known {
		return t.LastSeen
	}
	return t.SpawnedAt
}

// WithLastSeen returns text, which must have parsed to t, with last_seen_unix_ms
// set to ms, as one replacement: write tail at offset. All bytes before offset
// stay. The result is never shorter than text: a number with fewer digits than its
// predecessor is followed by spaces. A missing member is appended in the style of
// the first one.
func (t Sidecar) WithLastSeen(text []byte, ms uint64) (tail []byte, offset int) {
	if t.seenEnd > 0 {
		value := strconv.AppendUint(nil, ms, 10)
		for len(value) < t.seenEnd-t.seenStart {
			value = append(value, ' ')
		}
		if len(value) == t.seenEnd-t.seenStart {
			return value, t.seenStart
		}
		return append(value, text[t.seenEnd:]...), t.seenStart
	}
	var member []byte
	if offset = t.lastEnd; offset > 0 {
		member = append(member, ',')
		member = append(member, text[t.indentAt:t.indentAt+t.indent]...)
	} else {
		offset = t.indentAt
	}
	member = append(member, `"`+keyLastSeen+`": `...)
	member = strconv.AppendUint(member, ms, 10)
	return append(member, text[offset:]...), offset
}

// member notes one member of the outermost object; key is its key as written.
func (t *Sidecar) member(key, text []byte, start, end int) {
	t.lastEnd = end
	switch keyName(key) {
	case keySpawnedAt:
		t.SpawnedAt = parseTimestamp(text[start:end])
	case keyLastSeen:
		t.LastSeen = parseTimestamp(text[start:end])
		t.seenStart, t.seenEnd = start, end
	}
}

// keyName returns which of the two keys of interest the quoted key spells, escapes
// included ("last\u005fseen_unix_ms"), or "".
func keyName(quoted []byte) string {
	plain := quoted[1 : len(quoted)-1]
	for _, c := range plain {
		if c == '\\' {
			var key string
			if json.Unmarshal(quoted, &key) != nil {
				return ""
			}
			plain = []byte(key)
			break
		}
	}
	switch string(plain) {
	case keySpawnedAt:
		return keySpawnedAt
	case keyLastSeen:
		return keyLastSeen
	}
	return ""
}

// parseTimestamp reads a JSON value that is a non-negative integer. 1.0, 1e3, "1",
// -0 and 2^64 are none (serde_json's as_u64).
func parseTimestamp(value []byte) Timestamp {
	if len(value) > len("18446744073709551615") {
		return Timestamp{}
	}
	ms, err := strconv.ParseUint(string(value), 10, 64)
	if err != nil {
		return Timestamp{}
	}
	return At(ms)
}

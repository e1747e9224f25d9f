package daemondir

import (
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// MaxSidecarSize is the size in bytes above which a sidecar is not read
// ([ProblemTooLarge]). The spawner writes 1 to 100 KB (the daemon's environment);
// the original collector had no limit, and could be made to use all memory.
const MaxSidecarSize = 1 << 20

// maxDepth is how deep arrays and objects may be nested. The original's parser (serde_json)
// counts down from 128 and refuses at 0.
const maxDepth = 127

const (
	keySpawnedAt = "spawned_at_unix_ms"
	keyLastSeen  = "last_seen_unix_ms"
)

// A Timestamp is a time in milliseconds since the Unix epoch, or unknown. It has the
// original's range, 0 to 2^64-1.
type Timestamp struct {
	MS    uint64
	Known bool
}

// At returns the known timestamp ms.
func At(ms uint64) Timestamp { return Timestamp{MS: ms, Known: true} }

// MarshalJSON writes the number, or null if it is unknown.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	if !t.Known {
		return []byte("null"), nil
	}
	return strconv.AppendUint(nil, t.MS, 10), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (t *Timestamp) UnmarshalJSON(text []byte) error {
	var ms *uint64
	if err := json.Unmarshal(text, &ms); err != nil {
		return err
	}
	*t = Timestamp{}
	if ms != nil {
		*t = At(*ms)
	}
	return nil
}

// A Sidecar is what the text of a sidecar says, and where.
type Sidecar struct {
	SpawnedAt Timestamp // spawned_at_unix_ms
	LastSeen  Timestamp // last_seen_unix_ms itself; see Seen

	seenStart, seenEnd int // the value of the last last_seen_unix_ms; 0, 0: there is none
	indent             int // the length of the white space after the opening brace
	indentAt           int // the offset of that white space
	lastEnd            int // the end of the last member; 0: the object is empty
}

// ParseSidecar parses the text of a sidecar as the original collector does: one JSON object
// (RFC 8259) in valid UTF-8 without a byte order mark, at most 127 levels deep, no lone
// surrogate escapes, no number beyond a float64, and nothing but white space after it. If a
// key occurs twice, the last one counts. A timestamp is a non-negative JSON integer up to
// 2^64-1; with any other value it is unknown. The problem returned is [ProblemNone],
// [ProblemEmpty], [ProblemNotJSON] or [ProblemNotObject].
//
// It does not use encoding/json for three reasons: that accepts lone surrogates and 10,000
// levels, which the original refuses; a refresh needs the position of one value; and the
// spawner may be waiting for our lease meanwhile, so it must be fast and allocate nothing.
// FuzzParseSidecar compares it with encoding/json.
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

// Seen returns when the daemon was last known to be alive: LastSeen, else SpawnedAt.
func (t Sidecar) Seen() Timestamp {
	if t.LastSeen.Known {
		return t.LastSeen
	}
	return t.SpawnedAt
}

// WithLastSeen sets last_seen_unix_ms to ms in text, which must have been parsed to t. It
// returns what to write at which offset; all bytes before that stay the same. The result is
// never shorter than text: a number with fewer digits than the old one is followed by
// spaces. A missing member is appended, with the white space of the first one.
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

// member records one member of the outermost object. key is quoted, as in the text.
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

// keyName returns keySpawnedAt or keyLastSeen if that is the quoted key, which may contain
// escapes ("last\u005fseen_unix_ms"), or "".
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

// parseTimestamp parses a non-negative JSON integer. 1.0, 1e3, "1", -0 and 2^64 are unknown
// (serde_json's as_u64).
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

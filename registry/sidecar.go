package registry

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

// SidecarText is what a sidecar's text says, and where.
type SidecarText struct {
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
func ParseSidecar(text []byte) (SidecarText, Problem) {
	if len(text) == 0 {
		return SidecarText{}, ProblemEmpty
	}
	if !utf8.Valid(text) {
		return SidecarText{}, ProblemNotJSON
	}
	s := scanner{text: text}
	s.space()
	isObject := s.peek() == '{'
	ok := s.value(0)
	s.space()
	switch {
	case !ok || s.pos != len(text):
		return SidecarText{}, ProblemNotJSON
	case !isObject:
		return SidecarText{}, ProblemNotObject
	}
	return s.found, ProblemNone
}

// Seen returns when the daemon was last known to live: LastSeen, else SpawnedAt.
func (t SidecarText) Seen() Timestamp {
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
func (t SidecarText) WithLastSeen(text []byte, ms uint64) (tail []byte, offset int) {
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

// scanner walks one JSON text. Its methods return false at the first fault.
type scanner struct {
	text  []byte
	pos   int
	found SidecarText
}

// peek returns the next byte, or 0 at the end (a NUL byte in the text is a fault
// wherever peek is asked, so the two need no telling apart).
func (s *scanner) peek() byte {
	if s.pos < len(s.text) {
		return s.text[s.pos]
	}
	return 0
}

func (s *scanner) space() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

func (s *scanner) literal(word string) bool {
	if len(s.text)-s.pos < len(word) || string(s.text[s.pos:s.pos+len(word)]) != word {
		return false
	}
	s.pos += len(word)
	return true
}

// value reads one value inside depth open arrays and objects.
func (s *scanner) value(depth int) bool {
	switch c := s.peek(); {
	case c == '{':
		return depth < maxDepth && s.object(depth+1)
	case c == '[':
		return depth < maxDepth && s.array(depth+1)
	case c == '"':
		return s.str()
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	default:
		return s.literal("null") || s.literal("true") || s.literal("false")
	}
}

func (s *scanner) array(depth int) bool {
	s.pos++
	s.space()
	if s.literal("]") {
		return true
	}
	for {
		s.space()
		if !s.value(depth) {
			return false
		}
		s.space()
		if s.literal("]") {
			return true
		}
		if !s.literal(",") {
			return false
		}
	}
}

func (s *scanner) object(depth int) bool {
	s.pos++
	start := s.pos
	s.space()
	if depth == 1 {
		s.found.indentAt, s.found.indent = start, s.pos-start
	}
	if s.literal("}") {
		return true
	}
	for {
		s.space()
		keyStart := s.pos
		if s.peek() != '"' || !s.str() {
			return false
		}
		key := s.text[keyStart:s.pos]
		s.space()
		if !s.literal(":") {
			return false
		}
		s.space()
		valueStart := s.pos
		if !s.value(depth) {
			return false
		}
		if depth == 1 {
			s.found.member(key, s.text, valueStart, s.pos)
		}
		s.space()
		if s.literal("}") {
			return true
		}
		if !s.literal(",") {
			return false
		}
	}
}

// member notes one member of the outermost object; key is its key as written.
func (t *SidecarText) member(key, text []byte, start, end int) {
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

// number reads -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)? and refuses what
// overflows a float64, as the original does.
func (s *scanner) number() bool {
	start := s.pos
	s.literal("-")
	if !s.literal("0") && !s.digits() {
		return false
	}
	if s.literal(".") && !s.digits() {
		return false
	}
	exponent := s.literal("e") || s.literal("E")
	if exponent {
		if !s.literal("+") {
			s.literal("-")
		}
		if !s.digits() {
			return false
		}
	}
	// Below 308 digits and without an exponent no number is out of range.
	if exponent || s.pos-start > 308 {
		if _, err := strconv.ParseFloat(string(s.text[start:s.pos]), 64); err != nil {
			return false
		}
	}
	return true
}

func (s *scanner) digits() bool {
	start := s.pos
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.pos++
	}
	return s.pos > start
}

func (s *scanner) str() bool {
	s.pos++
	for s.pos < len(s.text) {
		c := s.text[s.pos]
		s.pos++
		switch {
		case c == '"':
			return true
		case c < 0x20:
			return false
		case c == '\\':
			if !s.escape() {
				return false
			}
		}
	}
	return false
}

// escape reads what follows a backslash. A surrogate must be one half of a pair.
func (s *scanner) escape() bool {
	c := s.peek()
	s.pos++
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		switch unit := s.hex4(); {
		case unit < 0 || 0xdc00 <= unit && unit <= 0xdfff:
			return false
		case 0xd800 <= unit && unit <= 0xdbff:
			if !s.literal(`\u`) {
				return false
			}
			low := s.hex4()
			return 0xdc00 <= low && low <= 0xdfff
		}
		return true
	}
	return false
}

// hex4 reads four hex digits, or returns -1.
func (s *scanner) hex4() int {
	unit := 0
	for range 4 {
		c := s.peek()
		switch {
		case '0' <= c && c <= '9':
			unit = unit<<4 | int(c-'0')
		case 'a' <= c && c <= 'f':
			unit = unit<<4 | int(c-'a'+10)
		case 'A' <= c && c <= 'F':
			unit = unit<<4 | int(c-'A'+10)
		default:
			return -1
		}
		s.pos++
	}
	return unit
}

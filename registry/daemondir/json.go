package daemondir

import "strconv"

// A scanner finds the timestamps in a sidecar, in one pass and without allocating. It
// accepts the same JSON as the original's parser. Its methods return false at the first
// error.
type scanner struct {
	text  []byte
	pos   int
	found Sidecar
}

// peek returns the next byte, or 0 at the end. A NUL byte in the text is an error wherever
// peek is called, so the two need not be distinguished.
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

// value reads one value that is nested in depth arrays and objects.
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

// number reads -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)? and, as the original, refuses
// a number that overflows a float64.
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

// escape reads what follows a backslash. Surrogates must come in pairs.
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

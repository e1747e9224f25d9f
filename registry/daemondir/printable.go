package daemondir

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Printable returns name with every byte that is no printable character written as a
// Go escape (\n, \x1b, \u202e), so that a daemon's name cannot break a line, steer a
// terminal or pose as another. A backslash stays as it is: the result is for reading,
// not for parsing.
func Printable(name string) string {
	clean := true
	for _, r := range name {
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			clean = false
			break
		}
	}
	if clean {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); {
		r, size := utf8.DecodeRuneInString(name[i:])
		if r != utf8.RuneError && strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			quoted := strconv.Quote(name[i : i+size])
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += size
	}
	return b.String()
}

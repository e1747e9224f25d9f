package daemondir

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Printable returns name with every byte that is not part of a printable character written
// as a Go escape (\n, \x1b, \u202e), so that a daemon's name cannot break a line, control a
// terminal or look like another name. A backslash stays as it is: the result is for people,
// not for parsers.
func Printable(name string) string {
	if !strings.ContainsFunc(name, unprintable) {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); {
		r, size := utf8.DecodeRuneInString(name[i:])
		if unprintable(r) {
			quoted := strconv.Quote(name[i : i+size])
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
}

func unprintable(r rune) bool { return r == utf8.RuneError || !strconv.IsPrint(r) }

package integration

// Names that no table, log or terminal likes.

import (
	"strings"
	"testing"
)

// wildNames are names that a daemon may have: any bytes but '/' and NUL.
func wildNames() []string {
	return []string{
		"new\nline", "carriage\rreturn", "tab\tstop", "bell\a",
		"esc\x1b[31mred\x1b[0m", "title\x1b]0;owned\a", "c1\u009b31m", "c1 raw\x9b31m", "del\x7f",
		"invalid\xff\xfe\xc3", "rtl\u202egnp", "separator\u2028here", "zero\u200bwidth",
		`quote"d`, `back\slash`, `{"level":"error"}`, "%s%d%!", "-rf", "--root", "~", "$HOME", "*",
		" leading and trailing ", "dots..", ".hidden", "...", "emoji 🙂", "name.daemon.json", "daemon.pid.d",
		// As the kernel writes names into stat and links, without any escape.
		"p) Z 1 (q", "gone (deleted)", "a\nZ (zombie)\nb",
		strings.Repeat("x", 243),
		strings.Repeat("\xff", 243),
	}
}

// mustBePrintable returns the lines of text, which must hold no control character but
// the newline that ends each.
func mustBePrintable(t *testing.T, what, text string) []string {
	t.Helper()
	if text == "" {
		return nil
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for _, line := range lines {
		if err := printable(line); err != nil {
			t.Errorf("%v in %s: %q", err, what, line)
			break // the others are hardly better
		}
	}
	return lines
}

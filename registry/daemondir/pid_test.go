package daemondir

import (
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// The rule of the original is Rust's raw.trim().parse::<u32>(), on what must be UTF-8.
func TestParsePID(t *testing.T) {
	pid := func(n uint32) PID { return PID{N: n, Known: true} }
	none := PID{}
	for _, tt := range []struct {
		name, text string
		want       PID
	}{
		{"as the spawner writes it", "4711", pid(4711)},
		{"empty: between open and write", "", none},
		{"zero is a number, if no process", "0", pid(0)},
		{"leading zeros", "00012", pid(12)},
		{"largest", "4294967295", pid(1<<32 - 1)},
		{"too large by one", "4294967296", none},
		{"too large for 64 bits", "18446744073709551616", none},
		{"too large modulo 2^32", "4294967297", none},

		{"newline behind", "12\n", pid(12)},
		{"CR LF behind", "12\r\n", pid(12)},
		{"spaces around", "  12  ", pid(12)},
		{"tabs around", "\t12\t", pid(12)},
		{"vertical tab and form feed around", "\v12\f", pid(12)},
		{"U+0085 around", "\u008512\u0085", pid(12)},
		{"U+00A0 around", "\u00a012\u00a0", pid(12)},
		{"U+1680 around", "\u168012\u1680", pid(12)},
		{"U+2000 and U+200A around", "\u200012\u200a", pid(12)},
		{"U+2028 and U+2029 around", "\u202812\u2029", pid(12)},
		{"U+202F and U+205F around", "\u202f12\u205f", pid(12)},
		{"U+3000 around", "\u300012\u3000", pid(12)},
		{"only white space", " \n", none},
		{"zero-width space is no white space", "\u200b12", none},
		{"a byte order mark is no white space", "\ufeff12", none},
		{"U+001C is no white space", "\x1c12", none},
		{"U+180E is no white space", "\u180e12", none},

		{"one plus", "+5", pid(5)},
		{"one plus behind white space", " +5\n", pid(5)},
		{"one plus before zeros", "+007", pid(7)},
		{"two plus signs", "++5", none},
		{"a lone plus", "+", none},
		{"a plus apart from its number", "+ 5", none},
		{"plus and minus", "+-5", none},
		{"minus", "-5", none},
		{"minus zero", "-0", none},
		{"a plus behind the number", "5+", none},

		{"two numbers", "12 34", none},
		{"two lines", "12\n34\n", none},
		{"hexadecimal", "0x10", none},
		{"hexadecimal digits", "1f", none},
		{"octal by its prefix", "0o17", none},
		{"underscore", "1_000", none},
		{"comma", "1,000", none},
		{"fraction", "12.0", none},
		{"exponent", "1e3", none},
		{"letters", "twelve", none},
		{"quotes", `"12"`, none},
		{"NUL behind", "12\x00", none},
		{"NUL before", "\x0012", none},
		{"only NULs, as a crash may leave it", "\x00\x00\x00\x00", none},
		{"Arabic digits", "\u0661\u0662", none},
		{"full-width digits", "\uff11\uff12", none},
		{"invalid UTF-8 before", "\xff12", none},
		{"invalid UTF-8 behind", "12\x80", none},
		{"a lone byte of U+0085 or U+00A0 is invalid UTF-8", "12\x85\xa0", none},

		{"64 bytes", strings.Repeat("0", 62) + "12", pid(12)},
		{"64 bytes, mostly white space", "12" + strings.Repeat("\n", 62), pid(12)},
		{"65 bytes are no pid file of ours", strings.Repeat("0", 63) + "12", none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := ParsePID([]byte(tt.text)); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
			if oracle := judgePID([]byte(tt.text)); oracle != tt.want {
				t.Errorf("the fuzz test's oracle says %+v", oracle)
			}
		})
	}
}

func TestPIDMarshalJSON(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   PID
		want string
	}{
		{"unknown is null", PID{}, "null"},
		{"zero is not unknown", PID{Known: true}, "0"},
		{"beyond int32", PID{N: 1<<32 - 1, Known: true}, "4294967295"},
	} {
		if got, err := json.Marshal(tt.in); err != nil || string(got) != tt.want {
			t.Errorf("%s: %s, %v; want %s", tt.name, got, err, tt.want)
		}
		back := PID{N: 7, Known: true}
		if err := json.Unmarshal([]byte(tt.want), &back); err != nil || back != tt.in {
			t.Errorf("%s: back as %v, %v", tt.name, back, err)
		}
	}
}

func FuzzParsePID(f *testing.F) {
	for _, text := range []string{
		"", "0", "12", "00012", "+5", "++5", "-5", "+", " 12\n", "12 34", "0x10", "1_000", "12\x00", "\xff12",
		"4294967295", "4294967296", "18446744073709551616", "\u008512\u00a0", "\u300012\u2029", "\u200b12", "\ufeff12",
		"\u1680+1\u205f", "\x1c1", "1\x85", "\u0661", strings.Repeat("0", 64), strings.Repeat("0", 65),
		"\u180e1", "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a1\u2028\u202f",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if got, want := ParsePID(text), judgePID(text); got != want {
			t.Fatalf("%+v, want %+v", got, want)
		}
	})
}

// whiteSpace is Unicode's White_Space property, which Rust's trim goes by. The list has
// not changed since Unicode 6.3.
var whiteSpace = []rune{'\t', '\n', '\v', '\f', '\r', ' ', 0x85, 0xa0, 0x1680,
	0x2000, 0x2001, 0x2002, 0x2003, 0x2004, 0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200a,
	0x2028, 0x2029, 0x202f, 0x205f, 0x3000}

// judgePID is ParsePID over again, rune by rune.
func judgePID(text []byte) PID {
	if len(text) > 64 || !utf8.Valid(text) {
		return PID{}
	}
	rest := []rune(string(text))
	for len(rest) > 0 && slices.Contains(whiteSpace, rest[0]) {
		rest = rest[1:]
	}
	for len(rest) > 0 && slices.Contains(whiteSpace, rest[len(rest)-1]) {
		rest = rest[:len(rest)-1]
	}
	if len(rest) > 0 && rest[0] == '+' {
		rest = rest[1:]
	}
	if len(rest) == 0 {
		return PID{}
	}
	n := new(big.Int)
	for _, r := range rest {
		if r < '0' || '9' < r {
			return PID{}
		}
		n.Add(n.Mul(n, big.NewInt(10)), big.NewInt(int64(r-'0')))
	}
	if n.BitLen() > 32 {
		return PID{}
	}
	return PID{N: uint32(n.Uint64()), Known: true}
}

package daemondir

// The sidecar's rule as tables whose rows name what they pin. sidecar_fuzz_test.go has
// it against an oracle.

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// written is a sidecar as the spawner writes it.
const written = `{
  "args": ["-c", "print(\"last_seen_unix_ms\")"],
  "command": "/usr/bin/python3",
  "cwd": "/srv/app",
  "env": {
    "PATH": "/usr/bin:/bin",
    "TOKEN": "s3cret \u00e9\ud83d\ude00 \\ \/",
    "last_seen_unix_ms": "7"
  },
  "last_seen_unix_ms": 1700000005000,
  "nice": -1.5e3,
  "spawned_at_unix_ms": 1700000000123
}`

func TestParseSidecarWritten(t *testing.T) {
	for _, tail := range []string{"", "\n", "\r\n", " \t\n\n"} {
		said, problem := ParseSidecar([]byte(written + tail))
		if problem != ProblemNone || said.SpawnedAt != At(1700000000123) || said.LastSeen != At(1700000005000) {
			t.Errorf("with %q behind it: %v, spawned %v, seen %v", tail, problem, said.SpawnedAt, said.LastSeen)
		}
	}
}

// Which values are timestamps (serde_json's Value::as_u64). A value that is none
// leaves the timestamp unknown; one that is no JSON spoils the whole text.
func TestParseSidecarValues(t *testing.T) {
	notJSON := func(row string) bool { return strings.HasPrefix(row, "not JSON: ") }
	for _, tt := range []struct {
		name, value string
		want        Timestamp
	}{
		{"zero", "0", At(0)},
		{"one", "1", At(1)},
		{"now", "1700000000123", At(1700000000123)},
		{"beyond what a float64 holds", "9007199254740993", At(1<<53 + 1)},
		{"beyond int64", "9223372036854775808", At(1 << 63)},
		{"largest", "18446744073709551615", At(1<<64 - 1)},
		{"too large by one", "18446744073709551616", Timestamp{}},
		{"too large in the first digit", "99999999999999999999", Timestamp{}},
		{"21 digits", "100000000000000000000", Timestamp{}},
		{"309 digits, still a float64", "1" + strings.Repeat("0", 308), Timestamp{}},
		{"negative", "-1", Timestamp{}},
		{"negative zero", "-0", Timestamp{}},
		{"whole, but with a fraction", "1.0", Timestamp{}},
		{"whole, but with an exponent", "1e3", Timestamp{}},
		{"exponent of zero", "5E0", Timestamp{}},
		{"digits in a string", `"1"`, Timestamp{}},
		{"empty string", `""`, Timestamp{}},
		{"null", "null", Timestamp{}},
		{"true", "true", Timestamp{}},
		{"false", "false", Timestamp{}},
		{"empty array", "[]", Timestamp{}},
		{"array of one", "[1]", Timestamp{}},
		{"empty object", "{}", Timestamp{}},
		{"object that holds the keys", `{"spawned_at_unix_ms":1,"last_seen_unix_ms":1}`, Timestamp{}},
		{"underflow is zero, a float", "1e-400", Timestamp{}},
		{"huge exponent of zero", "0e999", Timestamp{}},
		{"exponent that overflows an int, of zero", "0e99999999999999999999", Timestamp{}},
		{"negative exponent that overflows an int", "1e-99999999999999999999", Timestamp{}},
		{"long fraction", "0." + strings.Repeat("3", 500), Timestamp{}},
		{"310 digits pulled back by their exponent", "1" + strings.Repeat("0", 309) + "e-10", Timestamp{}},
		{"largest float64", "1.7976931348623157e308", Timestamp{}},

		{"not JSON: leading zero", "01", Timestamp{}},
		{"not JSON: two zeros", "00", Timestamp{}},
		{"not JSON: negative leading zero", "-01", Timestamp{}},
		{"not JSON: plus", "+1", Timestamp{}},
		{"not JSON: lone minus", "-", Timestamp{}},
		{"not JSON: two minus signs", "--1", Timestamp{}},
		{"not JSON: no digit before the point", ".5", Timestamp{}},
		{"not JSON: no digit after the point", "1.", Timestamp{}},
		{"not JSON: no digit between point and exponent", "1.e3", Timestamp{}},
		{"not JSON: no digit in the exponent", "1e", Timestamp{}},
		{"not JSON: no digit after the exponent's sign", "1e+", Timestamp{}},
		{"not JSON: two signs in the exponent", "1e+-3", Timestamp{}},
		{"not JSON: hexadecimal", "0x10", Timestamp{}},
		{"not JSON: underscore", "1_000", Timestamp{}},
		{"not JSON: two numbers", "1 2", Timestamp{}},
		{"not JSON: NaN", "NaN", Timestamp{}},
		{"not JSON: Infinity", "Infinity", Timestamp{}},
		{"not JSON: literal in capitals", "Null", Timestamp{}},
		{"not JSON: literal cut short", "tru", Timestamp{}},
		{"not JSON: literal with a tail", "nullx", Timestamp{}},
		{"not JSON: no value", "", Timestamp{}},
		{"not JSON: beyond a float64 by its exponent", "1e400", Timestamp{}},
		{"not JSON: beyond a float64, negative", "-1e400", Timestamp{}},
		{"not JSON: beyond a float64, exponent beyond an int", "1e99999999999999999999", Timestamp{}},
		{"not JSON: beyond a float64 by its digits", strings.Repeat("9", 400), Timestamp{}},
		{"not JSON: beyond a float64 by one digit", "1" + strings.Repeat("0", 309), Timestamp{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said, problem := ParseSidecar([]byte(`{"spawned_at_unix_ms":` + tt.value + `,"last_seen_unix_ms": ` + tt.value + `}`))
			wantProblem := ProblemNone
			if notJSON(tt.name) {
				wantProblem = ProblemNotJSON
			}
			if problem != wantProblem || said.SpawnedAt != tt.want || said.LastSeen != tt.want {
				t.Errorf("%q, spawned %v, seen %v; want %q, both %v", problem, said.SpawnedAt, said.LastSeen, wantProblem, tt.want)
			}

			// As a member that is of no interest it must be judged as JSON all the same.
			said, problem = ParseSidecar([]byte(`{"env":{"x":[` + tt.value + ` ]},"last_seen_unix_ms":5}`))
			wantSeen := At(5)
			if notJSON(tt.name) && tt.value != "" { // an empty array is fine
				wantSeen = Timestamp{}
			} else {
				wantProblem = ProblemNone
			}
			if problem != wantProblem || said.LastSeen != wantSeen {
				t.Errorf("elsewhere in the text: %q, seen %v; want %q, %v", problem, said.LastSeen, wantProblem, wantSeen)
			}
		})
	}
}

// Which member is the one that counts: that of the outermost object, whose key has
// that name when its escapes are read, the last one if there are several (Map::insert).
func TestParseSidecarKeys(t *testing.T) {
	escaped := func(format string) string {
		var b strings.Builder
		for _, c := range keyLastSeen {
			h := strconv.FormatInt(int64(c), 16)
			b.WriteString(`\u00` + h)
		}
		if format == "upper" {
			return strings.NewReplacer("a", "A", "c", "C", "d", "D", "e", "E", "f", "F").Replace(b.String())
		}
		return b.String()
	}
	unknown := Timestamp{}
	for _, tt := range []struct {
		name, text    string
		spawned, seen Timestamp
	}{
		{"both", `{"spawned_at_unix_ms":1,"last_seen_unix_ms":2}`, At(1), At(2)},
		{"order does not matter", `{"last_seen_unix_ms":2,"spawned_at_unix_ms":1}`, At(1), At(2)},
		{"no spawned_at", `{"last_seen_unix_ms":2}`, unknown, At(2)},
		{"no last_seen: the parser does not fall back", `{"spawned_at_unix_ms":1}`, At(1), unknown},
		{"neither", `{"command":"x"}`, unknown, unknown},
		{"empty object", `{}`, unknown, unknown},
		{"white space everywhere", " \r\n\t{ \"spawned_at_unix_ms\" \n:\t1 , \"last_seen_unix_ms\"\r: 2 \n} \n", At(1), At(2)},

		{"in a nested object it does not count", `{"env":{"last_seen_unix_ms":9,"spawned_at_unix_ms":9}}`, unknown, unknown},
		{"nested after the outer one", `{"last_seen_unix_ms":2,"env":{"last_seen_unix_ms":9}}`, unknown, At(2)},
		{"nested before the outer one", `{"env":{"last_seen_unix_ms":9},"last_seen_unix_ms":2}`, unknown, At(2)},
		{"in an object in an array it does not count", `{"args":[{"last_seen_unix_ms":9}]}`, unknown, unknown},
		{"as a string it does not count", `{"args":["last_seen_unix_ms",9]}`, unknown, unknown},
		{"as the text of a string it does not count", `{"args":"\"last_seen_unix_ms\":9"}`, unknown, unknown},

		{"of duplicates the last counts", `{"last_seen_unix_ms":2,"last_seen_unix_ms":3}`, unknown, At(3)},
		{"of duplicates the last counts, if smaller", `{"last_seen_unix_ms":3,"a":0,"last_seen_unix_ms":2}`, unknown, At(2)},
		{"of duplicates the last counts, if no integer", `{"last_seen_unix_ms":2,"last_seen_unix_ms":"3"}`, unknown, unknown},
		{"of duplicates the last counts, if null", `{"spawned_at_unix_ms":2,"spawned_at_unix_ms":null}`, unknown, unknown},
		{"of duplicates the last counts, if the first was none", `{"last_seen_unix_ms":null,"last_seen_unix_ms":3}`, unknown, At(3)},
		{"a duplicate in escapes", `{"last_seen_unix_ms":2,"last\u005fseen_unix_ms":3}`, unknown, At(3)},

		{"one escape", `{"last\u005fseen_unix_ms":2,"spawned\u005fat_unix_ms":1}`, At(1), At(2)},
		{"one escape in capitals", `{"last\u005Fseen_unix_ms":2}`, unknown, At(2)},
		{"all escapes", `{"` + escaped("lower") + `":2}`, unknown, At(2)},
		{"all escapes in capitals", `{"` + escaped("upper") + `":2}`, unknown, At(2)},
		{"an escaped backslash is not the key", `{"last\\u005fseen_unix_ms":2}`, unknown, unknown},
		{"an escaped NUL behind it is not the key", `{"last_seen_unix_ms\u0000":2}`, unknown, unknown},
		{"an escaped newline before it is not the key", `{"\nlast_seen_unix_ms":2}`, unknown, unknown},
		{"a pair in the key is not the key", `{"last_seen_unix_ms\ud83d\ude00":2}`, unknown, unknown},

		{"capitals are another key", `{"Last_Seen_Unix_MS":2,"SPAWNED_AT_UNIX_MS":1}`, unknown, unknown},
		{"a prefix is another key", `{"last_seen_unix_m":2}`, unknown, unknown},
		{"a longer one is another key", `{"last_seen_unix_ms2":2}`, unknown, unknown},
		{"a space in it makes another key", `{" last_seen_unix_ms":2,"last_seen_unix_ms ":2}`, unknown, unknown},
		{"a full-width letter makes another key", `{"ｌast_seen_unix_ms":2}`, unknown, unknown},
		{"the empty key", `{"":1,"last_seen_unix_ms":2}`, unknown, At(2)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said, problem := ParseSidecar([]byte(tt.text))
			if problem != ProblemNone || said.SpawnedAt != tt.spawned || said.LastSeen != tt.seen {
				t.Errorf("%q, spawned %v, seen %v; want spawned %v, seen %v", problem, said.SpawnedAt, said.LastSeen, tt.spawned, tt.seen)
			}
		})
	}
}

// What is JSON, and what is an object. Nothing of a refused text is used.
func TestParseSidecarText(t *testing.T) {
	const head, tail = `{"spawned_at_unix_ms":1,"x":`, `,"last_seen_unix_ms":2}`
	for _, tt := range []struct {
		name, text string
		want       Problem
	}{
		{"empty text", "", ProblemEmpty},
		{"only white space", " \n", ProblemNotJSON},

		{"top level is an array", "[]", ProblemNotObject},
		{"top level is an array of the object", `[{"last_seen_unix_ms":2}]`, ProblemNotObject},
		{"top level is a string", `"last_seen_unix_ms"`, ProblemNotObject},
		{"top level is a number", "17", ProblemNotObject},
		{"top level is null", "null", ProblemNotObject},
		{"top level is true", " true ", ProblemNotObject},
		{"top level is false", "false\n", ProblemNotObject},
		{"top level is an array that does not end", "[", ProblemNotJSON},
		{"top level is a number out of range", "1e400", ProblemNotJSON},

		{"white space before", " \t\r\n" + head + "0" + tail, ProblemNone},
		{"white space behind", head + "0" + tail + " \t\r\n", ProblemNone},
		{"vertical tab is no white space", head + "\v0" + tail, ProblemNotJSON},
		{"form feed is no white space", head + "0" + tail + "\f", ProblemNotJSON},
		{"U+00A0 is no white space", head + "\u00a00" + tail, ProblemNotJSON},
		{"U+2028 is no white space", head + "0" + tail + "\u2028", ProblemNotJSON},
		{"garbage behind", head + "0" + tail + "x", ProblemNotJSON},
		{"a brace behind", head + "0" + tail + "}", ProblemNotJSON},
		{"a second object behind", head + "0" + tail + "\n{}", ProblemNotJSON},
		{"a NUL behind", head + "0" + tail + "\x00", ProblemNotJSON},
		{"a tail of an older, longer text behind", head + "0" + tail + `_ms": 17}`, ProblemNotJSON},
		{"a comment", head + "0/*x*/" + tail, ProblemNotJSON},
		{"garbage before", "x" + head + "0" + tail, ProblemNotJSON},
		{"a NUL before", "\x00" + head + "0" + tail, ProblemNotJSON},
		{"only NULs, as a crash may leave it", strings.Repeat("\x00", 64), ProblemNotJSON},
		{"byte order mark", "\ufeff" + head + "0" + tail, ProblemNotJSON},
		{"UTF-16", "\xff\xfe{\x00}\x00", ProblemNotJSON},

		{"comma behind the last member", `{"a":1,}`, ProblemNotJSON},
		{"comma before the first member", `{,"a":1}`, ProblemNotJSON},
		{"two commas in an object", `{"a":1,,"b":2}`, ProblemNotJSON},
		{"no comma in an object", `{"a":1 "b":2}`, ProblemNotJSON},
		{"no colon", `{"a" 1}`, ProblemNotJSON},
		{"two colons", `{"a"::1}`, ProblemNotJSON},
		{"no value", `{"a"}`, ProblemNotJSON},
		{"no key", `{:1}`, ProblemNotJSON},
		{"a key without quotes", `{a:1}`, ProblemNotJSON},
		{"a key in single quotes", `{'a':1}`, ProblemNotJSON},
		{"a number for a key", `{1:1}`, ProblemNotJSON},
		{"comma behind the last element", head + "[1,]" + tail, ProblemNotJSON},
		{"comma before the first element", head + "[,1]" + tail, ProblemNotJSON},
		{"no comma in an array", head + "[1 2]" + tail, ProblemNotJSON},
		{"colon in an array", head + `["a":1]` + tail, ProblemNotJSON},
		{"array closed by a brace", head + "[1}" + tail, ProblemNotJSON},
		{"object closed by a bracket", `{"a":1]`, ProblemNotJSON},

		{"invalid UTF-8 in a value", head + "\"\xff\"" + tail, ProblemNotJSON},
		{"invalid UTF-8 in a key", "{\"\xc3\":1}", ProblemNotJSON},
		{"invalid UTF-8 behind the object", "{}\x80", ProblemNotJSON},
		{"invalid UTF-8: character cut short", head + "\"\xe2\x82\"" + tail, ProblemNotJSON},
		{"invalid UTF-8: overlong", head + "\"\xc0\xaf\"" + tail, ProblemNotJSON},
		{"invalid UTF-8: encoded surrogate", head + "\"\xed\xa0\x80\"" + tail, ProblemNotJSON},
		{"invalid UTF-8: beyond U+10FFFF", head + "\"\xf4\x90\x80\x80\"" + tail, ProblemNotJSON},
		{"valid UTF-8 of each length", head + "\"a\u00e9\u20ac\U0001f600\"" + tail, ProblemNone},
		{"U+FFFD itself", head + "\"\ufffd\"" + tail, ProblemNone},

		{"every short escape", head + `"\"\\\/\b\f\n\r\t"` + tail, ProblemNone},
		{"unknown escape", head + `"\x41"` + tail, ProblemNotJSON},
		{"escaped single quote", head + `"\'"` + tail, ProblemNotJSON},
		{"escape in capitals", head + `"\N"` + tail, ProblemNotJSON},
		{"escape u in capitals", head + `"\U0041"` + tail, ProblemNotJSON},
		{"three hex digits", head + `"\u004"` + tail, ProblemNotJSON},
		{"no hex digit", head + `"\u00g0"` + tail, ProblemNotJSON},
		{"sign for a hex digit", head + `"\u+041"` + tail, ProblemNotJSON},
		{"escaped NUL", head + `"\u0000"` + tail, ProblemNone},
		{"escaped non-character", head + `"\uffff"` + tail, ProblemNone},
		{"escape in capital hex digits", head + `"\u00AF\uABCD"` + tail, ProblemNone},

		{"surrogate pair", head + `"\ud83d\ude00"` + tail, ProblemNone},
		{"surrogate pair, lowest", head + `"\ud800\udc00"` + tail, ProblemNone},
		{"surrogate pair, highest, in capitals", head + `"\uDBFF\uDFFF"` + tail, ProblemNone},
		{"neighbours of the surrogates", head + `"\ud7ff\ue000"` + tail, ProblemNone},
		{"lone high surrogate", head + `"\ud800"` + tail, ProblemNotJSON},
		{"lone high surrogate before a letter", head + `"\udbffA"` + tail, ProblemNotJSON},
		{"lone high surrogate before another escape", head + `"\ud800\n"` + tail, ProblemNotJSON},
		{"lone high surrogate before a \\u that is none", head + `"\ud800\u0041"` + tail, ProblemNotJSON},
		{"high surrogate twice", head + `"\ud800\ud800"` + tail, ProblemNotJSON},
		{"high surrogate before a cut escape", head + `"\ud800\udc0"` + tail, ProblemNotJSON},
		{"lone low surrogate", head + `"\udc00"` + tail, ProblemNotJSON},
		{"lone low surrogate, highest", head + `"\udfff"` + tail, ProblemNotJSON},
		{"halves in the wrong order", head + `"\udc00\ud800"` + tail, ProblemNotJSON},
		{"lone low surrogate after a pair", head + `"\ud800\udc00\udc00"` + tail, ProblemNotJSON},
		{"lone surrogate in a key", `{"\ud800":1}`, ProblemNotJSON},
		{"a surrogate behind an escaped backslash is text", head + `"\\ud800"` + tail, ProblemNone},

		{"newline in a string", head + "\"a\nb\"" + tail, ProblemNotJSON},
		{"tab in a string", head + "\"a\tb\"" + tail, ProblemNotJSON},
		{"NUL in a string", head + "\"a\x00b\"" + tail, ProblemNotJSON},
		{"U+001F in a string", head + "\"a\x1fb\"" + tail, ProblemNotJSON},
		{"newline in a key", "{\"a\nb\":1}", ProblemNotJSON},
		{"DEL in a string", head + "\"a\x7fb\"" + tail, ProblemNone},
		{"C1 control in a string", head + "\"a\u0085b\"" + tail, ProblemNone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			said, problem := ParseSidecar([]byte(tt.text))
			if problem != tt.want {
				t.Fatalf("%q, want %q", problem, tt.want)
			}
			if oracle := judge([]byte(tt.text)); oracle.problem != tt.want {
				t.Errorf("the fuzz test's oracle says %q", oracle.problem)
			}
			if problem != ProblemNone {
				if said != (Sidecar{}) {
					t.Errorf("a refused text said %+v", said)
				}
			} else if said.SpawnedAt != At(1) || said.LastSeen != At(2) {
				t.Errorf("spawned %v, seen %v; want 1 and 2", said.SpawnedAt, said.LastSeen)
			}
		})
	}
}

// serde_json counts down from 128 at each array and object, the outermost included,
// and refuses at 0.
func TestParseSidecarDepth(t *testing.T) {
	arrays := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	objects := func(n int) string { return strings.Repeat(`{"a":`, n) + "0" + strings.Repeat("}", n) }
	for _, tt := range []struct {
		name, text string
		want       Problem
	}{
		{"127 levels of arrays in the object", `{"last_seen_unix_ms":2,"a":` + arrays(126) + "}", ProblemNone},
		{"128 levels of arrays in the object", `{"last_seen_unix_ms":2,"a":` + arrays(127) + "}", ProblemNotJSON},
		{"127 levels of objects", objects(127), ProblemNone},
		{"128 levels of objects", objects(128), ProblemNotJSON},
		{"127 levels, mixed", `{"a":` + strings.Repeat(`[{"a":`, 63) + "0" + strings.Repeat("}]", 63) + "}", ProblemNone},
		{"128 levels, mixed", `{"a":` + strings.Repeat(`[{"a":`, 63) + "[]" + strings.Repeat("}]", 63) + "}", ProblemNotJSON},
		{"127 levels, not an object", arrays(127), ProblemNotObject},
		{"128 levels, not an object", arrays(128), ProblemNotJSON},
		{"a hundred thousand siblings are no depth", `{"a":[` + strings.Repeat("[[]],", 100_000) + "0]}", ProblemNone},
		{"500,000 levels of arrays", arrays(500_000), ProblemNotJSON},
		{"500,000 levels of objects", objects(500_000), ProblemNotJSON},
		{"500,000 levels that do not end", `{"a":` + strings.Repeat("[", 500_000), ProblemNotJSON},
		{"a million levels in a string are text", `{"a":"` + strings.Repeat("[{", 500_000) + `"}`, ProblemNone},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, problem := ParseSidecar([]byte(tt.text)); problem != tt.want {
				t.Errorf("%q, want %q", problem, tt.want)
			}
		})
	}
}

// A reader may see any prefix of what the spawner writes. None may pass for a whole
// sidecar: the process of a half-read entry would be taken for another's.
func TestParseSidecarTruncated(t *testing.T) {
	for n := range len(written) {
		want := ProblemNotJSON
		if n == 0 {
			want = ProblemEmpty
		}
		if said, problem := ParseSidecar([]byte(written[:n])); problem != want || said != (Sidecar{}) {
			t.Errorf("%d of %d bytes: %q, %+v", n, len(written), problem, said)
		}
	}
}

// It runs while a spawner may wait in open(2).
func TestParseSidecarAllocatesNothing(t *testing.T) {
	text := []byte(written)
	if n := testing.AllocsPerRun(100, func() { ParseSidecar(text) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestWithLastSeen(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		ms         uint64
		want       string
	}{
		{"same length", `{"a":1,"last_seen_unix_ms":1700000000000,"b":2}`, 1800000000000,
			`{"a":1,"last_seen_unix_ms":1800000000000,"b":2}`},
		{"the same number", `{"last_seen_unix_ms":5}`, 5, `{"last_seen_unix_ms":5}`},
		{"shorter is padded", `{"a":1,"last_seen_unix_ms":1700000000000,"b":2}`, 7,
			`{"a":1,"last_seen_unix_ms":7            ,"b":2}`},
		{"shorter, the last member", `{"a":1,"last_seen_unix_ms":123}`, 7, `{"a":1,"last_seen_unix_ms":7  }`},
		{"padding is not part of the next number", `{"last_seen_unix_ms":7  }`, 8, `{"last_seen_unix_ms":8  }`},
		{"longer moves what is behind", `{"a":1,"last_seen_unix_ms":9,"b":2}` + "\n", 10,
			`{"a":1,"last_seen_unix_ms":10,"b":2}` + "\n"},
		{"longer, the last member", `{"last_seen_unix_ms":9}`, 18446744073709551615, `{"last_seen_unix_ms":18446744073709551615}`},
		{"zero", `{"last_seen_unix_ms":12}`, 0, `{"last_seen_unix_ms":0 }`},

		{"a string, longer", `{"last_seen_unix_ms":"yesterday","b":2}`, 7, `{"last_seen_unix_ms":7          ,"b":2}`},
		{"a string, shorter", `{"last_seen_unix_ms":"","b":2}`, 1234, `{"last_seen_unix_ms":1234,"b":2}`},
		{"null", `{"last_seen_unix_ms":null}`, 7, `{"last_seen_unix_ms":7   }`},
		{"a negative number", `{"last_seen_unix_ms":-1}`, 7, `{"last_seen_unix_ms":7 }`},
		{"a float", `{"last_seen_unix_ms":1.5e3 }`, 7, `{"last_seen_unix_ms":7     }`},
		{"an object over two lines", "{\"last_seen_unix_ms\":{\n},\"b\":2}", 7, `{"last_seen_unix_ms":7  ,"b":2}`},
		{"an object that holds the key", `{"last_seen_unix_ms":{"last_seen_unix_ms":1}}`, 7,
			`{"last_seen_unix_ms":7                      }`},
		{"an array", `{"last_seen_unix_ms":[1,2],"b":2}`, 1234567, `{"last_seen_unix_ms":1234567,"b":2}`},

		{"of duplicates the last", `{"last_seen_unix_ms":1,"last_seen_unix_ms":2}`, 3, `{"last_seen_unix_ms":1,"last_seen_unix_ms":3}`},
		{"of duplicates the last, which is no number", `{"last_seen_unix_ms":1,"last_seen_unix_ms":null,"b":2}`, 3,
			`{"last_seen_unix_ms":1,"last_seen_unix_ms":3   ,"b":2}`},
		{"a key in escapes stays so", `{"last\u005fseen_unix_ms":1}`, 3, `{"last\u005fseen_unix_ms":3}`},
		{"white space around it stays", "{ \"last_seen_unix_ms\" :\n\t1 \r\n}\n", 3, "{ \"last_seen_unix_ms\" :\n\t3 \r\n}\n"},
		{"only the outermost", `{"env":{"last_seen_unix_ms":1},"last_seen_unix_ms":2,"x":{"last_seen_unix_ms":3}}`, 4,
			`{"env":{"last_seen_unix_ms":1},"last_seen_unix_ms":4,"x":{"last_seen_unix_ms":3}}`},

		{"missing, compact", `{"a":1}`, 7, `{"a":1,"last_seen_unix_ms": 7}`},
		{"missing, compact with newline", `{"a":1}` + "\n", 7, `{"a":1,"last_seen_unix_ms": 7}` + "\n"},
		{"missing, indented by two", "{\n  \"a\": 1,\n  \"b\": {\n    \"c\": 2\n  }\n}", 7,
			"{\n  \"a\": 1,\n  \"b\": {\n    \"c\": 2\n  },\n  \"last_seen_unix_ms\": 7\n}"},
		{"missing, indented by tab", "{\n\t\"a\": 1\n}\n", 7, "{\n\t\"a\": 1,\n\t\"last_seen_unix_ms\": 7\n}\n"},
		{"missing, carriage returns", "{\r\n  \"a\": 1\r\n}\r\n", 7, "{\r\n  \"a\": 1,\r\n  \"last_seen_unix_ms\": 7\r\n}\r\n"},
		{"missing, one line with spaces", `{ "a": 1 }`, 7, `{ "a": 1, "last_seen_unix_ms": 7 }`},
		{"missing, but there is one deeper", `{"env":{"last_seen_unix_ms":1}}`, 7, `{"env":{"last_seen_unix_ms":1},"last_seen_unix_ms": 7}`},
		{"missing, the last value is a string with a brace", `{"a":"}"}`, 7, `{"a":"}","last_seen_unix_ms": 7}`},
		{"missing, white space before the object", " \n{\"a\":1}", 7, " \n{\"a\":1,\"last_seen_unix_ms\": 7}"},
		{"empty object", `{}`, 7, `{"last_seen_unix_ms": 7}`},
		{"empty object with a space", `{ }`, 7, `{"last_seen_unix_ms": 7 }`},
		{"empty object over two lines", "{\n}", 7, "{\"last_seen_unix_ms\": 7\n}"},
		{"empty object, white space around", " {} \n", 7, " {\"last_seen_unix_ms\": 7} \n"},
		{"missing, with the largest number", `{}`, 18446744073709551615, `{"last_seen_unix_ms": 18446744073709551615}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := checkWithLastSeen(t, []byte(tt.text), tt.ms); string(got) != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// A refresh writes over the number of the refresh before: after the first one the file
// keeps its size for the next 261 years, until the number has a digit more.
func TestWithLastSeenAgainAndAgain(t *testing.T) {
	text := []byte(strings.Replace(written, "1700000005000", "null", 1))
	text = checkWithLastSeen(t, text, 1700000005000)
	size := len(text)
	for ms := uint64(1700000305000); ms < 9999999999999; ms += 299_999_999_999 {
		text = checkWithLastSeen(t, text, ms)
		if len(text) != size {
			t.Fatalf("after %d: %d bytes, were %d", ms, len(text), size)
		}
	}
	// A clock that was set back, and forth again.
	for _, ms := range []uint64{1, 0, 1700000305000} {
		text = checkWithLastSeen(t, text, ms)
		if len(text) < size {
			t.Fatalf("after %d: shrank from %d to %d bytes", ms, size, len(text))
		}
		size = len(text)
	}
}

func TestTimestampMarshalJSON(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   Timestamp
		want string
	}{
		{"unknown is null", Timestamp{}, "null"},
		{"the epoch is not unknown", At(0), "0"},
		{"no float on the way", At(1<<64 - 1), "18446744073709551615"},
	} {
		if got, err := json.Marshal(tt.in); err != nil || string(got) != tt.want {
			t.Errorf("%s: %s, %v; want %s", tt.name, got, err, tt.want)
		}
	}
}

// checkWithLastSeen sets last_seen_unix_ms in text, which must be a good sidecar,
// checks everything that is promised about it, and returns the new text.
func checkWithLastSeen(t *testing.T, text []byte, ms uint64) []byte {
	t.Helper()
	before, problem := ParseSidecar(text)
	if problem != ProblemNone {
		t.Fatalf("not a good sidecar: %q", problem)
	}
	original := bytes.Clone(text)
	tail, offset := before.WithLastSeen(text, ms)
	if !bytes.Equal(text, original) {
		t.Fatal("the text that was handed in has changed")
	}
	result := bytes.Clone(text)
	result = append(result[:offset], tail...)
	if len(result) < len(text) {
		result = append(result, text[len(result):]...)
	}

	after, problem := ParseSidecar(result)
	if problem != ProblemNone || after.LastSeen != At(ms) || after.SpawnedAt != before.SpawnedAt {
		t.Fatalf("%q, spawned %v, seen %v; want spawned %v, seen %d\nin %q", problem, after.SpawnedAt, after.LastSeen, before.SpawnedAt, ms, result)
	}
	if oracle := judge(result); oracle.problem != ProblemNone || oracle.seen != At(ms) {
		t.Fatalf("encoding/json reads it as %+v\nin %q", oracle, result)
	}
	old, now := members(text), members(result)
	delete(old, keyLastSeen)
	delete(now, keyLastSeen)
	if !reflect.DeepEqual(old, now) {
		t.Fatalf("other members changed\nfrom %q\nto   %q", text, result)
	}

	value := strconv.FormatUint(ms, 10)
	if start, end := lastSeenSpan(text); end > 0 {
		want := string(text[:start]) + value + strings.Repeat(" ", max(0, end-start-len(value))) + string(text[end:])
		if string(result) != want {
			t.Fatalf("more than the value changed\ngot  %q\nwant %q", result, want)
		}
		if end-start >= len(value) && len(tail) != end-start {
			t.Errorf("%d bytes to write for a value of %d", len(tail), end-start)
		}
	} else if !bytes.HasSuffix(tail, text[offset:]) {
		t.Fatalf("what stood behind the new member changed\nfrom %q\nto   %q", text, result)
	}
	return result
}

// lastSeenSpan returns where the value of the last last_seen_unix_ms stands in an
// object, or zeros.
func lastSeenSpan(text []byte) (start, end int) {
	dec := json.NewDecoder(bytes.NewReader(text))
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return start, end
		}
		if err != nil {
			panic(err)
		}
		if key, ok := tok.(string); ok {
			var value json.RawMessage
			if err := dec.Decode(&value); err != nil {
				panic(err)
			}
			if key == keyLastSeen {
				end = int(dec.InputOffset())
				start = end - len(value)
			}
		}
	}
}

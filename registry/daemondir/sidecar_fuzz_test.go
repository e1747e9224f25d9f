package daemondir

import (
	"bytes"
	"encoding/json"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// The sidecar's rule against an oracle that is built on encoding/json and shares no code
// with the scanner.

func FuzzParseSidecar(f *testing.F) {
	for _, text := range []string{
		written,
		"", " ", "{}", "{ }", "{\n}", "[]", "null", "-0", "\ufeff{}", "{}\x00",
		`{"spawned_at_unix_ms":1,"last_seen_unix_ms":18446744073709551615}`,
		`{"spawned_at_unix_ms":18446744073709551616,"last_seen_unix_ms":-0}`,
		`{"spawned_at_unix_ms":1.0,"last_seen_unix_ms":1e3}`,
		`{"spawned_at_unix_ms":01,"last_seen_unix_ms":+1}`,
		`{"last_seen_unix_ms":1,"last\u005fseen_unix_ms":{"last_seen_unix_ms":2}}`,
		`{"last_seen_unix_ms":"x","last_seen_unix_ms":[]}`,
		`{"a":"\ud800\udc00\ud7ff\ue000"}`, `{"a":"\ud800"}`, `{"a":"\udc00"}`, `{"\ud800\u0041":1}`, `{"a":"\\ud800"}`,
		`{"a":[1e400]}`, `{"a":1e308,"b":1.7976931348623157e308}`, `{"a":1.7976931348623159e308}`, `{"a":1e-400,"b":0e999}`,
		`{"a":` + strings.Repeat("9", 308) + `,"b":` + strings.Repeat("9", 309) + `}`,
		"{\"a\":\"\xff\"}", "{\"a\xed\xa0\x80\":1}", "{\"a\":\"\x7f\u0085\x1f\"}",
		strings.Repeat(`{"a":`, 127) + "0" + strings.Repeat("}", 127),
		`{"a":` + strings.Repeat("[", 127) + strings.Repeat("]", 127) + "}",
		"{\r\n\t\"a\": true,\r\n\t\"b\": [false, null, {}, [ ]]\r\n}\r\n",
		`{"a":1,}`, `{"a" 1}`, `{"a":1}}`, `{"a":tru}`, `{"a":"\x"}`, `{"a":"\u00`, `{"a":"\`, `{"a`, `{"a":-`,
	} {
		f.Add([]byte(text), uint64(1700000005000))
		f.Add([]byte(text), uint64(7))
	}
	f.Fuzz(func(t *testing.T, text []byte, ms uint64) {
		want := judge(text)
		said, problem := ParseSidecar(text)
		if problem != want.problem {
			t.Fatalf("%q, want %q", problem, want.problem)
		}
		if problem != ProblemNone {
			if said != (Sidecar{}) {
				t.Fatalf("a refused text said %+v", said)
			}
			return
		}
		if said.SpawnedAt != want.spawned || said.LastSeen != want.seen {
			t.Fatalf("spawned %v, seen %v; want %v, %v", said.SpawnedAt, said.LastSeen, want.spawned, want.seen)
		}
		checkWithLastSeen(t, text, ms)
	})
}

// A judgement is the oracle's view of a text.
type judgement struct {
	problem       Problem
	spawned, seen Timestamp
}

// judge is ParseSidecar over again: encoding/json, and the five things in which it is
// more lenient than the original.
func judge(text []byte) judgement {
	switch {
	case len(text) == 0:
		return judgement{problem: ProblemEmpty}
	case !json.Valid(text), !utf8.Valid(text), depth(text) > 127, loneSurrogate(text), floatOverflow(text):
		return judgement{problem: ProblemNotJSON}
	case bytes.TrimLeft(text, " \t\r\n")[0] != '{':
		return judgement{problem: ProblemNotObject}
	}
	m := members(text)
	return judgement{spawned: asTimestamp(m[keySpawnedAt]), seen: asTimestamp(m[keyLastSeen])}
}

// members decodes a valid object.
func members(text []byte) map[string]any {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		panic(err)
	}
	return m
}

var unsigned = regexp.MustCompile(`^[0-9]+$`)

func asTimestamp(value any) Timestamp {
	number, ok := value.(json.Number)
	if !ok || !unsigned.MatchString(number.String()) {
		return Timestamp{}
	}
	n, ok := new(big.Int).SetString(number.String(), 10)
	if !ok || !n.IsUint64() {
		return Timestamp{}
	}
	return At(n.Uint64())
}

// jsonString matches a string of a valid JSON text, jsonNumber a number of one whose
// strings were taken out.
var (
	jsonString = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)
	jsonNumber = regexp.MustCompile(`-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?`)
)

func depth(text []byte) int {
	open, deepest := 0, 0
	for _, c := range jsonString.ReplaceAll(text, nil) {
		switch c {
		case '[', '{':
			open++
			deepest = max(deepest, open)
		case ']', '}':
			open--
		}
	}
	return deepest
}

var (
	jsonEscape    = regexp.MustCompile(`\\(?:u[0-9a-fA-F]{4}|.)`)
	surrogatePair = regexp.MustCompile(`(?i)<d[89ab][0-9a-f]{2}><d[c-f][0-9a-f]{2}>`)
	surrogate     = regexp.MustCompile(`(?i)<d[89a-f][0-9a-f]{2}>`)
)

// loneSurrogate says whether a valid JSON text escapes half a surrogate pair.
func loneSurrogate(text []byte) bool {
	for _, str := range jsonString.FindAll(text, -1) {
		// \u escapes to <xxxx>, other escapes to nothing that looks like one.
		marked := jsonEscape.ReplaceAllFunc(bytes.ReplaceAll(str, []byte("<"), []byte("(")), func(esc []byte) []byte {
			if esc[1] != 'u' {
				return []byte("-")
			}
			return []byte("<" + string(esc[2:]) + ">")
		})
		if surrogate.Match(surrogatePair.ReplaceAll(marked, []byte("-"))) {
			return true
		}
	}
	return false
}

// floatLimit is where rounding to the nearest float64 goes to infinity: half a step
// above the largest one, 2^1024 - 2^970, a number of 309 digits.
var floatLimit = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 1024), new(big.Int).Lsh(big.NewInt(1), 970))

// floatOverflow says whether a valid JSON text holds a number beyond a float64. It
// compares decimals: strconv.ParseFloat is what the code under test asks.
func floatOverflow(text []byte) bool {
	for _, number := range jsonNumber.FindAllString(jsonString.ReplaceAllString(string(text), `""`), -1) {
		mantissa, exp, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(number, "-")), "e")
		whole, fraction, _ := strings.Cut(mantissa, ".")
		digits := strings.TrimLeft(whole+fraction, "0")
		if digits == "" {
			continue
		}
		// The number is 0.<digits> * 10^magnitude.
		magnitude, ok := new(big.Int).SetString("0"+strings.TrimLeft(exp, "+-"), 10)
		if !ok {
			panic(number)
		}
		if strings.HasPrefix(exp, "-") {
			magnitude.Neg(magnitude)
		}
		magnitude.Add(magnitude, big.NewInt(int64(len(digits)-len(fraction))))
		limit := floatLimit.String()
		switch magnitude.Cmp(big.NewInt(int64(len(limit)))) {
		case 1:
			return true
		case 0:
			width := max(len(digits), len(limit))
			if digits+strings.Repeat("0", width-len(digits)) >= limit+strings.Repeat("0", width-len(limit)) {
				return true
			}
		}
	}
	return false
}

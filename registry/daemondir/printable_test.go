package daemondir

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestPrintable(t *testing.T) {
	for _, tt := range []struct {
		name, in, want string
	}{
		{"empty", "", ""},
		{"a plain name", "web-1.2_b", "web-1.2_b"},
		{"spaces inside and around", " a b ", " a b "},
		{"letters of other scripts", "dæmon-日本-Ωμέγα", "dæmon-日本-Ωμέγα"},
		{"emoji", "\U0001f600", "\U0001f600"},
		{"quotes need none", `"a" 'b'`, `"a" 'b'`},
		{"a backslash stays", `C:\new\table`, `C:\new\table`},
		{"a backslash stays beside an escape", "a\\n\n", `a\n\n`},
		{"quotes stay beside an escape", "\"a\"\n", `"a"\n`},

		{"newline", "a\nb", `a\nb`},
		{"carriage return", "a\rb", `a\rb`},
		{"tab", "a\tb", `a\tb`},
		{"NUL", "a\x00b", `a\x00b`},
		{"bell and backspace", "\a\b", `\a\b`},
		{"escape sequence", "\x1b[2Jx", `\x1b[2Jx`},
		{"DEL", "a\x7fb", `a\x7fb`},
		{"C1 control: CSI in one character", "\u009b2J", `\u009b2J`},
		{"C1 control: next line", "a\u0085b", `a\u0085b`},

		{"no-break space poses as a space", "a\u00a0b", `a\u00a0b`},
		{"zero-width space", "a\u200bb", `a\u200bb`},
		{"bidi override", "\u202egnp.exe", `\u202egnp.exe`},
		{"bidi isolate", "a\u2066b\u2069", `a\u2066b\u2069`},
		{"soft hyphen", "a\u00adb", `a\u00adb`},
		{"line separator", "a\u2028b", `a\u2028b`},
		{"byte order mark", "\ufeffa", `\ufeffa`},
		{"private use", "\ue000", `\ue000`},
		{"unassigned beyond 16 bits", "\U000e0fff", `\U000e0fff`},
		{"tag character", "a\U000e0041", `a\U000e0041`},

		{"invalid byte", "a\xffb", `a\xffb`},
		{"C1 control as a lone byte", "a\x9bb", `a\x9bb`},
		{"character cut short", "a\xe2\x82", `a\xe2\x82`},
		{"encoded surrogate", "\xed\xa0\x80", `\xed\xa0\x80`},
		{"U+FFFD itself is printable", "a\ufffdb", "a\ufffdb"},
		{"U+FFFD beside an invalid byte", "\ufffd\xff", "\ufffd" + `\xff`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Printable(tt.in); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			checkPrintable(t, tt.in)
		})
	}
}

// Most names are clean, and every log line asks.
func TestPrintableOfCleanNameAllocatesNothing(t *testing.T) {
	for _, name := range []string{"web-1", "dæmon-日本", `a\b`} {
		if n := testing.AllocsPerRun(100, func() { Printable(name) }); n != 0 {
			t.Errorf("%q: %v allocations", name, n)
		}
	}
}

// Every character of the planes in use, and every byte that is none, alone and between
// letters. From U+32000 on there is nothing but tags and private use.
func TestPrintableOfEveryRune(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if 0x32000 <= r && r < 0xe0000 || 0xe1000 <= r && r < unicode.MaxRune-10 {
			continue
		}
		checkPrintable(t, string(r))
		if r < 0x3100 {
			checkPrintable(t, "a"+string(r)+"b")
		}
	}
	for b := range 256 {
		checkPrintable(t, string([]byte{byte(b)}))
		checkPrintable(t, string([]byte{'a', byte(b), 'b'}))
	}
}

// Names of random bytes, which are mostly invalid UTF-8.
func TestPrintableOfRandomBytes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		name := make([]byte, rnd.IntN(16))
		for i := range name {
			name[i] = byte(rnd.Uint32())
		}
		checkPrintable(t, string(name))
	}
}

func FuzzPrintable(f *testing.F) {
	for _, name := range []string{"web-1", "a\nb", "\x1b[2J", "\u202e", "\xff\xfe", "\ufffd\x80", `\`, "\U000e0041"} {
		f.Add(name)
	}
	f.Fuzz(checkPrintable)
}

// checkPrintable checks what is promised of any name.
func checkPrintable(t *testing.T, name string) {
	t.Helper()
	got := Printable(name)
	if !utf8.ValidString(got) {
		t.Fatalf("%q gave invalid UTF-8: %q", name, got)
	}
	clean := utf8.ValidString(name)
	for _, r := range got {
		if !strconv.IsPrint(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			t.Fatalf("%q gave %q, which holds %U", name, got, r)
		}
	}
	for _, r := range name {
		clean = clean && strconv.IsPrint(r)
	}
	if clean && got != name {
		t.Fatalf("%q is clean, but gave %q", name, got)
	}
	if again := Printable(got); again != got {
		t.Fatalf("%q gave %q and that gave %q", name, got, again)
	}
	// Nothing is dropped: read back, the escapes give the name, if it had none of its own.
	if !strings.Contains(name, `\`) {
		back, err := strconv.Unquote(`"` + strings.ReplaceAll(got, `"`, `\"`) + `"`)
		if err != nil || back != name {
			t.Fatalf("%q gave %q, which reads %q, %v", name, got, back, err)
		}
	}
}

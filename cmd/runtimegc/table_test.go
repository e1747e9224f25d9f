package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"

	"runtimegc/prune"
	"runtimegc/registry/daemondir"
)

var tableNow = time.UnixMilli(1_800_000_000_000)

// dead is a row that becomes stale after d; if d is negative, the next sweep removes its dir.
func dead(name string, d time.Duration) prune.Row {
	r := prune.Row{Name: name, State: prune.Dead, Reason: prune.NotStale, Decision: prune.Keep,
		PID:      daemondir.PID{N: 4_000_000, Known: true},
		LastSeen: daemondir.At(uint64(tableNow.Add(d - 6*time.Hour).UnixMilli())),
		StaleAt:  daemondir.At(uint64(tableNow.Add(d).UnixMilli()))}
	if d < 0 {
		r.Reason, r.Decision = prune.Exited, prune.Remove
	}
	return r
}

// listingOf is of rows that were judged at tableNow.
func listingOf(rows []prune.Row, states ...string) *listing {
	l := &listing{at: tableNow, states: states}
	for _, r := range rows {
		l.add(r)
	}
	return l
}

func printed(t *testing.T, l *listing, width int) string {
	t.Helper()
	var out bytes.Buffer
	if err := l.print(&out, tableNow, width, false); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// A table is no wider than the terminal. What costs least is left out first: names and reasons
// stay whole as long as they can.
func TestTableFits(t *testing.T) {
	short := []prune.Row{dead("web", time.Hour), dead("a-name-of-usual-size", 2*time.Hour)}
	long := append(slices.Clone(short), dead("a-daemon-"+strings.Repeat("x", 200)+"-number-7", 3*time.Hour))
	even := strings.Repeat("0123456789", 5)
	all := "NAME STATE PID UP SINCE LAST SEEN REMOVED IN WHY"
	for _, row := range []struct {
		title    string
		rows     []prune.Row
		width    int
		headings string
		has      []string
	}{
		{"no terminal", long, 0, all, []string{long[2].Name, "it has not been dead for long enough\n"}},
		{"wide", short, 200, all, []string{short[1].Name, "it has not been dead for long enough\n"}},
		{"wide, a long name", long, 200, all, []string{"a-daemon-xxx", "…", "xxx-number-7 ", "it has not been dead for long enough\n"}},
		{"short reasons leave room for names", []prune.Row{dead(even, -time.Hour)}, 120, all, []string{even[:23] + "…" + even[27:] + "  dead "}},
		{"usual", short, 80, "NAME STATE LAST SEEN REMOVED IN WHY", []string{short[1].Name + " ", "it has not been dead for\n", " long enough\n"}},
		{"usual, a long name", long, 80, "NAME STATE LAST SEEN REMOVED IN WHY", []string{short[1].Name + " ", "…", "-number-7 "}},
		{"narrow", short, 60, "NAME STATE REMOVED IN WHY", []string{short[1].Name + " ", " it has not been\n", " enough\n"}},
		{"narrow, a long name", long, 60, "NAME STATE REMOVED IN WHY", []string{short[1].Name + " ", "…", "number-7 "}},
		{"a strip", long, 48, "NAME STATE REMOVED IN WHY", []string{"web ", "…", "er-7 ", " it has not been\n"}},
	} {
		text := printed(t, listingOf(row.rows), row.width)
		table, _, _ := strings.Cut(text, "\n\n")
		lines := strings.Split(table, "\n")
		if got := squeeze(lines[0]); got != row.headings {
			t.Errorf("%s: headings %q, want %q", row.title, got, row.headings)
		}
		for _, line := range lines {
			if row.width > 0 && runewidth.StringWidth(line) > row.width {
				t.Errorf("%s: wider than %d: %q", row.title, row.width, line)
			}
		}
		for _, want := range row.has {
			if !strings.Contains(table+"\n", want) {
				t.Errorf("%s: no %q in\n%s", row.title, want, table)
			}
		}
	}
}

// Where a table cannot fit, it is as narrow as it can be read.
func TestTableTooNarrow(t *testing.T) {
	text := printed(t, listingOf([]prune.Row{dead("a-name-of-usual-size", time.Hour)}), 5)
	if !strings.Contains(text, "a-name…-size  dead") || !strings.Contains(text, " it has not been\n") {
		t.Errorf("\n%s", text)
	}
}

// A character may take two columns, or none: the columns stand below each other as the terminal
// shows them, not as bytes or characters count.
func TestTableAlignsWideNames(t *testing.T) {
	names := []string{"plain", "日本語サーバー", "rocket-🚀", "cafe\u0301", "日本語の" + strings.Repeat("長い", 40) + "名前"}
	var rows []prune.Row
	for _, name := range names {
		rows = append(rows, dead(name, time.Hour))
	}
	for _, width := range []int{0, 60, 79, 80, 200} {
		lines := strings.Split(printed(t, listingOf(rows), width), "\n")
		at := strings.Index(lines[0], "STATE")
		if widest := runewidth.StringWidth(names[4]); width == 0 && at != widest+len(columnGap) {
			t.Errorf("STATE begins at %d, want %d", at, widest+len(columnGap))
		}
		found := 0
		for _, line := range lines[1:] {
			if name, _, ok := strings.Cut(line, "dead   "); ok { // STATE is a column wider
				found++
				if got := runewidth.StringWidth(name); got != at {
					t.Errorf("width %d: STATE begins at %d, want %d: %q", width, got, at, line)
				}
			}
		}
		if found != len(rows) {
			t.Errorf("width %d: %d of %d rows found", width, found, len(rows))
		}
	}
}

func TestWrap(t *testing.T) {
	for _, row := range []struct {
		text  string
		width int
		want  []string
	}{
		{"", 5, []string{""}},
		{"ab cd", 5, []string{"ab cd"}},
		{"ab cd", 4, []string{"ab", "cd"}},
		{"ab /a/very/long/path cd", 8, []string{"ab", "/a/very/", "long/pat", "h cd"}},
		{"日本語", 4, []string{"日本", "語"}},
	} {
		if got := wrap(row.text, row.width); !slices.Equal(got, row.want) {
			t.Errorf("wrap(%q, %d) is %q, want %q", row.text, row.width, got, row.want)
		}
	}
}

// The last line says what comes next, and counts what is hidden by --state as well.
func TestNextLine(t *testing.T) {
	size := func(r prune.Row, n int64) prune.Row { r.Bytes = &n; return r }
	used := dead("used", -time.Hour)
	used.Reason, used.Decision = prune.InUse, prune.Keep
	written := dead("written", -time.Hour)
	written.Reason, written.Decision = prune.NotStale, prune.Keep // by the time of a file in it
	protected := dead("protected", -time.Hour)
	protected.Reason, protected.Decision = prune.Protected, prune.Keep
	alive := prune.Row{Name: "alive", State: prune.Alive, Reason: prune.Running, Decision: prune.Refresh}
	in3h := clockTime(tableNow.Add(3*time.Hour).UnixMilli(), tableNow)
	for _, row := range []struct {
		rows []prune.Row
		want string
	}{
		{[]prune.Row{alive}, "Nothing is due."},
		{[]prune.Row{alive, protected}, "Nothing is due."},
		{[]prune.Row{dead("b", 5*time.Hour), dead("a", 3*time.Hour), alive}, "Nothing is due before " + in3h + " (in 3h)."},
		{[]prune.Row{size(dead("a", -1), 79), dead("b", time.Hour)}, "The next sweep removes 1 directory, 79 B."},
		{[]prune.Row{size(dead("a", -1), 1_000_000), size(dead("b", -1), 300_000)}, "The next sweep removes 2 directories, 1.3 MB."},
		{[]prune.Row{size(dead("a", -1), 1500), dead("b", -1)}, "The next sweep removes 2 directories, at least 1.5 kB."},
		{[]prune.Row{used, size(dead("a", -1), 0)}, "1 directory is due but kept; WHY says why. The next sweep removes 1 directory, 0 B."},
		{[]prune.Row{used, written, dead("a", 3*time.Hour)}, "2 directories are due but kept; WHY says why. Nothing else is due before " + in3h + " (in 3h)."},
		{[]prune.Row{used}, "1 directory is due but kept; WHY says why. Nothing else is due."},
	} {
		text := printed(t, listingOf(row.rows, "unknown"), 0)
		if want := "No daemon is unknown.\n\n" + listingOf(row.rows).counts.totalLine(false) + "\n" + row.want + "\n"; text != want {
			t.Errorf("got\n%swant\n%s", text, want)
		}
	}
}

func TestTotalLine(t *testing.T) {
	rows := []prune.Row{dead("a", time.Hour), {State: prune.Invalid}, {State: prune.Alive}, {State: prune.Alive}}
	n := int64(2000)
	rows[0].Bytes, rows[1].Bytes = &n, &n
	if got, want := listingOf(rows).counts.totalLine(false), "4 daemons: 2 alive, 1 dead, 1 invalid."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := listingOf(rows).counts.totalLine(true), "4 daemons, at least 4.0 kB: 2 alive, 1 dead, 1 invalid."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := listingOf(rows[:1]).counts.totalLine(true), "1 daemon, 2.0 kB: 1 dead."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFormatBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 1_250_000: "1.2 MB", 999_949: "999.9 kB", 999_950: "1.0 MB", 1<<63 - 1: "9.2 EB",
	} {
		if got := formatBytes(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

// countedWrites counts the writes, each a system call if this is a terminal or a pipe.
type countedWrites struct{ writes, bytes int }

func (c *countedWrites) Write(p []byte) (int, error) {
	c.writes++
	c.bytes += len(p)
	return len(p), nil
}

func TestTableIsWrittenInFewWrites(t *testing.T) {
	var rows []prune.Row
	for i := range 10_000 {
		rows = append(rows, dead(fmt.Sprint("daemon-", i), time.Hour))
	}
	var out countedWrites
	if err := listingOf(rows).print(&out, tableNow, 80, true); err != nil {
		t.Fatal(err)
	}
	if most := out.bytes>>16 + 1; out.writes > most {
		t.Errorf("%d bytes in %d writes, want at most %d", out.bytes, out.writes, most)
	}
}

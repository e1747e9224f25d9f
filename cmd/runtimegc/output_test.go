package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"runtimegc/prune"
	"runtimegc/registry/daemondir"
)

// What list says of time is what one would say.
func TestRelative(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	const s, m, h, d = 1000, 60_000, 3_600_000, 86_400_000
	for _, row := range []struct {
		offset int64 // from now, in ms
		want   string
	}{
		{0, "now"}, {-999, "now"}, {999, "now"},
		{-1 * s, "1s ago"}, {-59 * s, "59s ago"}, {-61 * s, "1m ago"},
		{-3*h - 12*m, "3h ago"}, {-2*d - h, "2d ago"}, {-400 * d, "1y ago"},
		{5*h + 12*m + 3*s, "in 5h 12m"}, {5*h + 3*s, "in 5h"}, {90 * s, "in 1m 30s"},
		{d + h, "in 1d 1h"}, {d + m, "in 1d"},
	} {
		if got := relative(daemondir.At(uint64(now.UnixMilli()+row.offset)), now); got != row.want {
			t.Errorf("%d ms from now: got %q, want %q", row.offset, got, row.want)
		}
	}
	if got := relative(daemondir.Timestamp{}, now); got != "-" {
		t.Errorf("unknown: %q", got)
	}
	if got := relative(daemondir.At(1<<64-1), now); !strings.HasPrefix(got, "in ") {
		t.Errorf("the end of time: %q", got)
	}
}

func TestTable(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	ago := func(d time.Duration) daemondir.Timestamp { return daemondir.At(uint64(now.Add(-d).UnixMilli())) }
	rows := []prune.Row{
		{Name: "a", State: prune.Alive, Reason: prune.Running, Decision: prune.Refresh, PID: daemondir.PID{N: 7, Known: true}, StartedAt: ago(time.Hour), LastSeen: ago(time.Minute)},
		{Name: "broken", State: prune.Invalid, Reason: "sidecar_empty", Decision: prune.Keep},
		{Name: "hidden", State: prune.Unknown, Reason: prune.UnknownLiveness, Decision: prune.Keep, PID: daemondir.PID{N: 8, Known: true}},
		{Name: "safe", State: prune.Dead, Reason: prune.Protected, Decision: prune.Keep, LastSeen: ago(time.Hour), StaleAt: ago(-5 * time.Hour)},
		{Name: "later", State: prune.Dead, Reason: prune.NotStale, Decision: prune.Keep, LastSeen: ago(time.Minute), StaleAt: ago(-5*time.Hour - 59*time.Minute)},
		{Name: "evil\n\x1b[2J", State: prune.Dead, Reason: prune.NotStale, Decision: prune.Keep, LastSeen: ago(time.Hour), StaleAt: ago(-5*time.Hour - 12*time.Minute)},
		{Name: "used", State: prune.Dead, Reason: prune.InUse, Decision: prune.Keep, LastSeen: ago(8 * time.Hour), StaleAt: ago(2 * time.Hour)},
		{Name: "due", State: prune.Dead, Reason: prune.Exited, Decision: prune.Remove, LastSeen: ago(7 * time.Hour), StaleAt: ago(time.Hour)},
		{Name: "refused", State: prune.Dead, Reason: prune.Permission, Decision: prune.Keep, LastSeen: ago(7 * time.Hour), StaleAt: ago(time.Hour), Err: errors.New("open \x1b: no")},
	}
	slices.SortFunc(rows, nextFirst)
	var plain, colored bytes.Buffer
	if err := printTable(&plain, rows, now, false); err != nil {
		t.Fatal(err)
	}
	want := `
NAME           STATE    PID  UP SINCE  LAST SEEN  REMOVED IN  WHY
due            dead     -    -         7h ago     now         its process has exited
used           dead     -    -         8h ago     kept        a process uses the directory
refused        dead     -    -         7h ago     kept        it may not be read or changed: open \x1b: no
evil\n\x1b[2J  dead     -    -         1h ago     5h 12m      it was alive too recently
later          dead     -    -         1m ago     5h 59m      it was alive too recently
safe           dead     -    -         1h ago     never       its name is protected
hidden         unknown  8    -         -          -           it cannot be told whether its process lives
broken         invalid  -    -         -          never       its sidecar is empty
a              alive    7    STARTED   1m ago     -           its process runs
`
	started := clock(now.Add(-time.Hour).UnixMilli(), now)
	got := "\n" + plain.String()
	// The time of day depends on the zone; its width on the day.
	if squeeze(got) != squeeze(strings.Replace(want, "STARTED", started, 1)) {
		t.Errorf("got%s", got)
	}
	for _, column := range []string{"STATE", "PID", "UP SINCE", "LAST SEEN", "REMOVED IN", "WHY"} {
		lines := strings.Split(strings.TrimSpace(got), "\n")
		at := strings.Index(lines[0], column)
		for _, line := range lines[1:] {
			if line[at] == ' ' || line[at-1] != ' ' {
				t.Errorf("%s is not aligned in %q", column, line)
			}
		}
	}

	if err := printTable(&colored, rows, now, true); err != nil {
		t.Fatal(err)
	}
	if text := colored.String(); !strings.Contains(text, "\x1b[32malive\x1b[39m ") || !strings.Contains(text, "\x1b[33mdead\x1b[39m ") {
		t.Errorf("no colours: %q", text)
	}
	if bare := regexp.MustCompile(`\x1b\[3[0-9]m`).ReplaceAllString(colored.String(), ""); bare != plain.String() {
		t.Errorf("but for its colours it is not the same:\n%s", bare)
	}
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

func TestJSONHasNoControlCharacters(t *testing.T) {
	name := "a\x00\x1b\x7f\u0080\u009b\u00a0\u00e9\U0001f600"
	var out bytes.Buffer
	if err := printJSON(&out, []string{name}); err != nil {
		t.Fatal(err)
	}
	for _, r := range out.String() {
		if r != '\n' && (r < 0x20 || 0x7f <= r && r < 0xa0) {
			t.Errorf("%q has %U in it", out.String(), r)
		}
	}
	var back []string
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back[0] != name {
		t.Errorf("%q reads back as %q, %v", name, back, err)
	}
}

// A line of the log: one JSON object, its time in UTC with milliseconds.
func TestLogLine(t *testing.T) {
	var out bytes.Buffer
	log := newLogger(&out, zerolog.InfoLevel)
	log.Info().Str("event", "x").Msg("said")
	log.Debug().Msg("not said")
	var line map[string]string
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v: %q", err, out.String())
	}
	when, err := time.Parse(time.RFC3339Nano, line["time"])
	if err != nil || when.Location() != time.UTC || len(line["time"]) != len("2006-01-02T15:04:05.000Z") {
		t.Errorf("time is %q", line["time"])
	}
	if line["level"] != "info" || line["message"] != "said" {
		t.Errorf("got %v", line)
	}
}

// The console says times and durations as people do, and drops what is nothing.
func TestConsoleLine(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	var out bytes.Buffer
	log := newLogger(newConsole(&out, false, 1), zerolog.InfoLevel)
	at := time.Now().Add(time.Second)
	log.Info().Str("event", "daemon.exited").Str("daemon", "a").Str("dir", "/r/a").Uint32("pid", 7).
		Uint64("stale_at_unix_ms", uint64(at.UnixMilli())).Float64("age_ms", 3_600_123).Int("failed", 0).
		Bool("dry_run", false).Msg("daemon has exited")
	line := out.String()
	for _, want := range []string{"INF daemon has exited daemon=a pid=7 ", " age=1h", " stale_at=" + at.Format("15:04")} {
		if !strings.Contains(line, want) {
			t.Errorf("%q lacks %q", line, want)
		}
	}
	for _, not := range []string{"event", "dir=", "failed", "dry_run", "unix_ms"} {
		if strings.Contains(line, not) {
			t.Errorf("%q says %q", line, not)
		}
	}
}

// What others say anyway is left out for a person, so that a line fits a screen; not
// which root is meant, where there are several.
func TestConsoleIsBrief(t *testing.T) {
	home := filepath.FromSlash("/home/u")
	root := filepath.Join(home, "run", "runtime")
	line := func(manyRoots bool, fields map[string]any) string {
		t.Helper()
		forPeople(fields, manyRoots, home)
		var keys []string
		for key, value := range fields {
			keys = append(keys, fmt.Sprint(key, "=", value))
		}
		slices.Sort(keys)
		return strings.Join(keys, " ")
	}
	tilde := filepath.FromSlash("~/run/runtime")
	for _, row := range []struct {
		manyRoots bool
		fields    map[string]any
		want      string
	}{
		{false, map[string]any{"event": "watch.started", "root": root, "version": "v1", "stale_after_ms": json.Number("21600000"), "sweep_interval_ms": json.Number("330000")}, "stale_after=6h sweep_interval=5m30s"},
		{true, map[string]any{"event": "watch.started", "root": root, "stale_after_ms": json.Number("60000")}, "root=" + tilde + " stale_after=1m"},
		{false, map[string]any{"event": "root.found", "dir": root}, "dir=" + tilde},
		{true, map[string]any{"event": "root.found", "dir": root, "root": root}, "root=" + tilde},
		{true, map[string]any{"event": "daemon.added", "daemon": "a", "dir": root + "/a", "root": home + "x"}, "daemon=a root=" + home + "x"},
		{false, map[string]any{"event": "daemon.exited", "daemon": "a", "reason": "exited"}, "daemon=a"},
		{false, map[string]any{"event": "daemon.exited", "daemon": "a", "reason": "pid_reused"}, "daemon=a reason=pid_reused"},
		{false, map[string]any{
			"event": "sweep.done", "checked": json.Number("470"), "alive": json.Number("120"), "dead": json.Number("130"),
			"unknown": json.Number("110"), "invalid": json.Number("110"), "refreshed": json.Number("120"), "removed": json.Number("130"),
			"kept": json.Number("220"), "failed": json.Number("0"), "unreadable_processes": json.Number("101"), "duration_ms": json.Number("46.123"),
		}, "duration=46.1ms refreshed=120 removed=130"},
	} {
		if got := line(row.manyRoots, row.fields); got != row.want {
			t.Errorf("got %q, want %q", got, row.want)
		}
	}
}

func TestExitCodes(t *testing.T) {
	root := t.TempDir()
	for _, row := range []struct {
		args string
		code int
	}{
		{"list --root " + root, 0},
		{"prune --root " + root, 0},
		{"--help", 0},
		{"list --root " + root + "/none", 0},
		{"list nobody --root " + root, 1}, {"list .. --root " + root, 1}, {"list a/b --root " + root, 1},
		{"list --state dead,alive --root " + root, 0}, {"list --state dead --state unknown --root " + root, 0},
		{"list --state zombie --root " + root, 2}, {"list --state dead, --root " + root, 2}, {"list --state= --root " + root, 2},
		{"list x --state dead --root " + root, 2},
		{"list --protect [ --root " + root, 2}, {"prune --protect= --root " + root, 2}, {"watch --protect a --protect [a --root " + root, 2},
		{"list --protect a* --protect b --root " + root, 0},
		{"", 2}, {"frob", 2}, {"list x y", 2}, {"--frob", 2}, {"list --frob", 2},
		{"list --stale-after 0s", 2}, {"prune --stale-after -1h", 2}, {"list --stale-after soon", 2},
		{"watch --sweep-interval 0s --root " + root, 2}, {"watch --sweep-interval 1us --root " + root, 2},
		{"list --root=", 2}, {"list --log-format xml", 2}, {"list --log-level loud", 2}, {"list --log-level disabled", 2},
		{"watch --metrics-listen x --root " + root, 2}, {"list --metrics-listen 0", 2}, {"prune --metrics-listen 0", 2},
		{"watch --metrics-textfile x --root " + root, 2}, {"watch --metrics-textfile " + root + "/x.prom --root " + root, 2},
		{"prune --metrics-textfile " + root + "/x.prom --root " + root, 2},
		{"prune --metrics-textfile " + root + "-none/x.prom --root " + root, 1},
		{"list --root /", 1}, {"watch --root /", 1}, {"prune --root /", 1},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), strings.Fields(row.args), &stdout, &stderr); code != row.code {
			t.Errorf("runtimegc %s: exit code %d, want %d; %s", row.args, code, row.code, stderr.String())
		}
		if (row.code != 0) != strings.Contains(stderr.String(), "runtimegc: ") {
			t.Errorf("runtimegc %s: stderr is %q", row.args, stderr.String())
		}
	}
}

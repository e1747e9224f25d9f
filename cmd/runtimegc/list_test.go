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

	"runtimegc/prune"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// Times are written as people say them.
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
	now := tableNow
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
	l := listingOf(rows)
	var plain, colored bytes.Buffer
	if err := l.print(&plain, now, 0, false); err != nil {
		t.Fatal(err)
	}
	want := `
NAME           STATE    PID  UP SINCE  LAST SEEN  REMOVED IN  WHY
due            dead     -    -         7h ago     now         its process has exited
used           dead     -    -         8h ago     kept        a process uses the directory
refused        dead     -    -         7h ago     kept        permission to read or change it was denied: open \x1b: no
evil\n\x1b[2J  dead     -    -         1h ago     5h 12m      it has not been dead for long enough
later          dead     -    -         1m ago     5h 59m      it has not been dead for long enough
safe           dead     -    -         1h ago     never       it is protected
hidden         unknown  8    -         -          -           whether its process is alive cannot be determined
broken         invalid  -    -         -          never       its sidecar is empty
a              alive    7    STARTED   1m ago     -           its process is running

9 daemons: 1 alive, 6 dead, 1 unknown, 1 invalid.
2 directories are due but kept; WHY says why. The next sweep removes 1 directory, of unknown size.
`
	started := clockTime(now.Add(-time.Hour).UnixMilli(), now)
	got := "\n" + plain.String()
	// The time of day depends on the zone; its width on the day.
	if squeeze(got) != squeeze(strings.Replace(want, "STARTED", started, 1)) {
		t.Errorf("got%s", got)
	}
	for _, column := range []string{"STATE", "PID", "UP SINCE", "LAST SEEN", "REMOVED IN", "WHY"} {
		lines := strings.Split(strings.TrimSpace(got), "\n")
		at := strings.Index(lines[0], column)
		for _, line := range lines[1 : len(rows)+1] {
			if line[at] == ' ' || line[at-1] != ' ' {
				t.Errorf("%s is not aligned in %q", column, line)
			}
		}
	}

	if err := l.print(&colored, now, 0, true); err != nil {
		t.Fatal(err)
	}
	if text := colored.String(); !strings.Contains(text, "\x1b[32malive\x1b[39m ") || !strings.Contains(text, "\x1b[33mdead\x1b[39m ") {
		t.Errorf("no colours: %q", text)
	}
	if bare := regexp.MustCompile(`\x1b\[3[0-9]m`).ReplaceAllString(colored.String(), ""); bare != plain.String() {
		t.Errorf("without its colours it is not the same:\n%s", bare)
	}
}

// The rows of the JSON are in the order of their names, of each root in turn: two outputs can be
// compared line by line.
func TestListJSONIsSorted(t *testing.T) {
	args := []string{"list", "--json"}
	var want []string
	for range 2 {
		root := t.TempDir()
		args = append(args, "--root", root)
		var names []string
		for i := range 100 {
			name := fmt.Sprint("d", i*37%100)
			daemondirtest.MakeDead(t, root, name, time.Duration(i)*time.Minute)
			names = append(names, filepath.Join(root, name))
		}
		slices.Sort(names)
		want = append(want, names...)
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), args, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	var rows []struct{ Dir string }
	if err := json.Unmarshal(stdout.Bytes(), &rows); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range rows {
		got = append(got, row.Dir)
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed as %q", got)
	}
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

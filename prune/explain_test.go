package prune

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"runtimegc/prune/internal/proc"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// Whatever is known of a process, the first answer that settles something is what
// classify says, and nothing is settled twice.
func TestExplainedLivenessIsTheJudges(t *testing.T) {
	const spawned = 1_700_000_000_000
	now := time.UnixMilli(spawned + 1_000_000)
	bools := []bool{false, true}
	seen := make(map[string]bool)
	for i := range 1 << 6 {
		bit := func(n int) bool { return bools[i>>n&1] }
		for _, start := range []daemondir.Timestamp{{}, daemondir.At(spawned), daemondir.At(spawned + 9999), daemondir.At(1000)} {
			for _, exe := range []proc.Whereabouts{proc.ExeUnknown, proc.ExeInside, proc.ExeElsewhere} {
				for _, spawnedAt := range []daemondir.Timestamp{{}, daemondir.At(spawned)} {
					f := facts{noPID: bit(0), exists: bit(1), zombie: bit(2), thread: bit(3), stepped: bit(4), start: start, exe: exe}
					if bit(5) {
						f.err = errors.New("not to be asked")
					}
					ev := f.evidence(spawnedAt, now)
					l := ev.classify()
					var settled []CheckResult
					for _, c := range ev.explain(daemondir.PID{N: 7, Known: true}) {
						if c.Outcome != Passed && c.Outcome != Skipped {
							settled = append(settled, c)
						}
					}
					if len(settled) != 1 || settled[0].Outcome != Outcome(l.State) || settled[0].Reason != l.Reason {
						t.Fatalf("%+v: classified as %s because %s, explained as %+v", f, l.State, l.Reason, settled)
					}
					seen[string(settled[0].Check)+" "+string(l.State)] = true
				}
			}
		}
	}
	for _, want := range []string{"pid_file dead", "process dead", "process unknown", "zombie dead", "thread dead",
		"start_time alive", "program alive", "program dead", "program unknown"} {
		if !seen[want] {
			t.Errorf("nothing was settled by %s", want)
		}
	}
}

// answers are the answers of an explanation by question; reasons, where there is one,
// behind a colon.
func answers(x Explanation) map[Check]string {
	found := make(map[Check]string)
	for _, c := range x.Checks {
		found[c.Check] = string(c.Outcome)
		if c.Reason != "" {
			found[c.Check] += ":" + string(c.Reason)
		}
	}
	return found
}

// Every question is asked in the order of a sweep, what it finds is said, and what it
// comes to is what a sweep in a dry run comes to.
func TestExplain(t *testing.T) {
	b := newBench(t, Options{Protect: []string{"keep-*"}, DryRun: true})
	live, _ := daemondirtest.MakeLive(t, b.root, "live")
	daemondirtest.MakeDead(t, b.root, "due", 2*time.Hour)
	daemondirtest.MakeDead(t, b.root, "recent", time.Minute)
	daemondirtest.MakeDead(t, b.root, "keep-1", 2*time.Hour)
	daemondirtest.Make(t, b.root, "no-pid", sidecarText(1, 1), "")
	daemondirtest.Make(t, b.root, "no-timestamp", "{}", strconv.Itoa(daemondirtest.DeadPID))
	daemondirtest.Make(t, b.root, "broken", "{", "")
	_, rows := b.sweep()

	order := []Check{CheckSidecar, CheckPIDFile, CheckProcess, CheckZombie, CheckThread, CheckStart, CheckProgram,
		CheckProtected, CheckLastSeen, CheckShape, CheckMounts, CheckLock, CheckUsers, CheckContents, CheckLastLook}
	for _, row := range []struct {
		name string
		want map[Check]string
	}{
		{"live", map[Check]string{CheckProcess: "passed", CheckStart: "alive:running", CheckProgram: "skipped",
			CheckLastSeen: "keep:not_stale", CheckLastLook: "skipped"}},
		{"due", map[Check]string{CheckProcess: "dead:exited", CheckStart: "skipped", CheckProtected: "passed", CheckLastSeen: "passed",
			CheckShape: "passed", CheckMounts: "passed", CheckUsers: "passed", CheckLastLook: "passed"}},
		{"recent", map[Check]string{CheckProcess: "dead:exited", CheckLastSeen: "keep:not_stale", CheckLastLook: "skipped"}},
		{"keep-1", map[Check]string{CheckProtected: "keep:protected", CheckLastSeen: "passed"}},
		{"no-pid", map[Check]string{CheckPIDFile: "dead:no_pid", CheckProcess: "skipped"}},
		{"no-timestamp", map[Check]string{CheckLastSeen: "keep:no_timestamp"}},
		{"broken", map[Check]string{CheckSidecar: "invalid:sidecar_not_json", CheckLastSeen: "skipped"}},
	} {
		x, ok := b.Explain(row.name)
		if !ok {
			t.Errorf("%s is not known", row.name)
			continue
		}
		got := answers(x)
		for q, want := range row.want {
			if got[q] != want {
				t.Errorf("%s: %s is %s, want %s", row.name, q, got[q], want)
			}
		}
		var asked []Check
		for _, c := range x.Checks {
			asked = append(asked, c.Check)
			if c.Details == "" && c.Outcome != Skipped {
				t.Errorf("%s: %s is %s without details", row.name, c.Check, c.Outcome)
			}
		}
		if row.name != "broken" && !reflect.DeepEqual(asked, order) {
			t.Errorf("%s: asked %v", row.name, asked)
		}
		if swept := rows[row.name]; x.State != swept.State || x.Decision != swept.Decision || x.Reason != swept.Reason {
			t.Errorf("%s: explained as %s, %s because %s; swept as %s, %s because %s", row.name,
				x.State, x.Decision, x.Reason, swept.State, swept.Decision, swept.Reason)
		}
	}
	if _, ok := b.Explain("nobody"); ok {
		t.Error("a dir is explained that does not exist")
	}
	before := daemondirtest.ReadFile(t, live.Sidecar())
	x, _ := b.Explain("live")
	if daemondirtest.ReadFile(t, live.Sidecar()) != before {
		t.Error("explaining wrote")
	}
	if text, err := json.Marshal(x); err != nil || strings.Contains(string(text), daemondirtest.Secret) {
		t.Errorf("%v, or it tells the sidecar's content: %s", err, text)
	}
}

// What was moved, or is gone, since it was read is said as what it is.
func TestExplainWhatHasChanged(t *testing.T) {
	b := newBench(t, Options{})
	d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	if entryOf(t, d).Dir == (daemondir.FileID{}) {
		t.Skip("directories have no identity on this system")
	}
	b.scan()
	if err := os.Rename(d.Path(), filepath.Join(t.TempDir(), "away")); err != nil {
		t.Fatal(err)
	}
	x, _ := b.Explain("a")
	if got := answers(x); got[CheckShape] != "keep:gone" || got[CheckLock] != "skipped" || x.Decision != Keep || x.Reason != Gone {
		t.Errorf("a dir that is gone: %s because %s, %v", x.Decision, x.Reason, got)
	}
	daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	x, _ = b.Explain("a")
	if got := answers(x); got[CheckShape] != "keep:changed" || x.Reason != Changed {
		t.Errorf("a dir that was replaced: %s because %s, %v", x.Decision, x.Reason, got)
	}
	if err := os.RemoveAll(b.root); err != nil {
		t.Fatal(err)
	}
	x, _ = b.Explain("a")
	if got := answers(x); got[CheckShape] != "untold" || x.Decision != Keep {
		t.Errorf("a root that is gone: %s because %s, %v", x.Decision, x.Reason, got)
	}
}

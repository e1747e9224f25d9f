package prune

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
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
			for _, exe := range []whereabouts{exeUnknown, exeInside, exeElsewhere} {
				for _, spawnedAt := range []daemondir.Timestamp{{}, daemondir.At(spawned)} {
					f := facts{noPID: bit(0), exists: bit(1), zombie: bit(2), thread: bit(3), stepped: bit(4), start: start, exe: exe}
					if bit(5) {
						f.err = errors.New("not to be asked")
					}
					l := classify(f, spawnedAt, now)
					var settled []Check
					for _, c := range explainLiveness(newEvidence(f, spawnedAt, now), daemondir.PID{N: 7, Known: true}) {
						if c.Answer != Passed && c.Answer != Skipped {
							settled = append(settled, c)
						}
					}
					if len(settled) != 1 || settled[0].Answer != Answer(l.State) || settled[0].Reason != l.Reason {
						t.Fatalf("%+v: classified as %s because %s, explained as %+v", f, l.State, l.Reason, settled)
					}
					seen[string(settled[0].Question)+" "+string(l.State)] = true
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
func answers(x Explanation) map[Question]string {
	found := make(map[Question]string)
	for _, c := range x.Checks {
		found[c.Question] = string(c.Answer)
		if c.Reason != "" {
			found[c.Question] += ":" + string(c.Reason)
		}
	}
	return found
}

// Every question is asked in the order of a sweep, what it finds is said, and what it
// comes to is what a sweep in a dry run comes to.
func TestExplain(t *testing.T) {
	b := newBench(t, Options{Protect: []string{"keep-*"}, DryRun: true})
	live, _ := newLive(t, b.root, "live")
	newDead(t, b.root, "due", 2*time.Hour)
	newDead(t, b.root, "recent", time.Minute)
	newDead(t, b.root, "keep-1", 2*time.Hour)
	newDir(t, b.root, "no-pid", sidecarText(1, 1), "")
	newDir(t, b.root, "no-timestamp", "{}", strconv.Itoa(deadPID))
	newDir(t, b.root, "broken", "{", "")
	_, rows := b.sweep()

	order := []Question{AskSidecar, AskPIDFile, AskProcess, AskZombie, AskThread, AskStart, AskProgram,
		AskProtected, AskLastSeen, AskShape, AskMounts, AskLock, AskUsers, AskLastLook}
	for _, row := range []struct {
		name string
		want map[Question]string
	}{
		{"live", map[Question]string{AskProcess: "passed", AskStart: "alive:running", AskProgram: "skipped",
			AskLastSeen: "keep:not_stale", AskLastLook: "skipped"}},
		{"due", map[Question]string{AskProcess: "dead:exited", AskStart: "skipped", AskProtected: "passed", AskLastSeen: "passed",
			AskShape: "passed", AskMounts: "passed", AskUsers: "passed", AskLastLook: "passed"}},
		{"recent", map[Question]string{AskProcess: "dead:exited", AskLastSeen: "keep:not_stale", AskLastLook: "skipped"}},
		{"keep-1", map[Question]string{AskProtected: "keep:protected", AskLastSeen: "passed"}},
		{"no-pid", map[Question]string{AskPIDFile: "dead:no_pid", AskProcess: "skipped"}},
		{"no-timestamp", map[Question]string{AskLastSeen: "keep:no_timestamp"}},
		{"broken", map[Question]string{AskSidecar: "invalid:sidecar_not_json", AskLastSeen: "skipped"}},
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
		var asked []Question
		for _, c := range x.Checks {
			asked = append(asked, c.Question)
			if c.Details == "" && c.Answer != Skipped {
				t.Errorf("%s: %s is %s without details", row.name, c.Question, c.Answer)
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
	before := live.read(live.sidecar())
	x, _ := b.Explain("live")
	if live.read(live.sidecar()) != before {
		t.Error("explaining wrote")
	}
	if text, err := json.Marshal(x); err != nil || strings.Contains(string(text), "secret") {
		t.Errorf("%v, or it tells the sidecar's content: %s", err, text)
	}
}

// What was moved, or is gone, since it was read is said as what it is.
func TestExplainWhatHasChanged(t *testing.T) {
	b := newBench(t, Options{})
	d := newDead(t, b.root, "a", 2*time.Hour)
	if d.entry().Dir == (daemondir.FileID{}) {
		t.Skip("directories have no identity on this system")
	}
	b.scan()
	if err := os.Rename(d.path(), filepath.Join(t.TempDir(), "away")); err != nil {
		t.Fatal(err)
	}
	x, _ := b.Explain("a")
	if got := answers(x); got[AskShape] != "keep:gone" || got[AskLock] != "skipped" || x.Decision != Keep || x.Reason != Gone {
		t.Errorf("a dir that is gone: %s because %s, %v", x.Decision, x.Reason, got)
	}
	newDead(t, b.root, "a", 2*time.Hour)
	x, _ = b.Explain("a")
	if got := answers(x); got[AskShape] != "keep:changed" || x.Reason != Changed {
		t.Errorf("a dir that was replaced: %s because %s, %v", x.Decision, x.Reason, got)
	}
	if err := os.RemoveAll(b.root); err != nil {
		t.Fatal(err)
	}
	x, _ = b.Explain("a")
	if got := answers(x); got[AskShape] != "untold" || x.Decision != Keep {
		t.Errorf("a root that is gone: %s because %s, %v", x.Decision, x.Reason, got)
	}
}

// Every reason that there is has words, and they are nobody else's.
func TestEveryReasonHasWords(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "policy.go", nil, 0)
	if os.IsNotExist(err) {
		t.Skip("the sources are not here")
	}
	if err != nil {
		t.Fatal(err)
	}
	var reasons []Reason
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
			if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Reason" {
				text, _ := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				reasons = append(reasons, Reason(text))
			}
		}
		return true
	})
	for p := daemondir.ProblemPermission; p <= daemondir.ProblemIO; p++ {
		reasons = append(reasons, Reason(p.String()))
	}
	if len(reasons) < 25 {
		t.Fatalf("found only %q", reasons)
	}
	owner := make(map[string]Reason)
	for _, r := range reasons {
		w := r.Words()
		if w == string(r) {
			t.Errorf("%s has no words", r)
		}
		if other, taken := owner[w]; taken && other != r {
			t.Errorf("%s and %s are both %q", r, other, w)
		}
		owner[w] = r
	}
}

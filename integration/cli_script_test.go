package integration

// The command line, as scripts: testdata/script holds one for each behaviour, headed by
// the reason it exists. A new one is a new file there.

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"

	"github.com/rogpeppe/go-internal/testscript"
)

// scriptCommands are what a script may say beside the commands of package testscript.
// A path is relative to the script's directory.
//
//	exits CODE COMMAND ARG...          run it to its end, which must be with that exit code
//	refuses CODE TEXT COMMAND ARG...   the same, with TEXT in stderr and nothing in stdout
//	refused WHY ROOT                   watch, prune and list must each end with exit code 1 and say WHY they refuse ROOT
//	daemon DIR SPAWNED [SEEN]          make the dir of a dead daemon, spawned and last seen so long ago; "-" leaves a time out
//	spawn DIR                          start a daemon (Linux)
//	snapshot DIR                       remember DIR and all below it
//	unchanged                          all that was remembered must be as it was
//	aligned                            each row of the table in stdout must have a column below each heading
var scriptCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"exits":     scriptExits,
	"refuses":   scriptRefuses,
	"refused":   scriptRefused,
	"daemon":    scriptDaemon,
	"snapshot":  scriptSnapshot,
	"unchanged": scriptUnchanged,
	"aligned":   scriptAligned,
}

// scriptState is what the commands of one script share.
type scriptState struct {
	t      testing.TB
	before map[string]tree // by directory
}

func stateOf(ts *testscript.TestScript) *scriptState { return ts.Value("state").(*scriptState) }

func TestScripts(t *testing.T) {
	t.Parallel()
	program := binary(t)
	testscript.Run(t, testscript.Params{
		Dir:                filepath.Join("testdata", "script"),
		Cmds:               scriptCommands,
		RequireUniqueNames: true,
		Deadline:           time.Now().Add(5 * patience),
		Setup: func(env *testscript.Env) error {
			bin := filepath.Join(env.WorkDir, ".bin")
			name := filepath.Join(bin, "runtimegc"+filepath.Ext(program))
			if err := os.Mkdir(bin, 0o755); err != nil {
				return err
			}
			// Windows lets everybody make a hard link, Unix a symlink to any file.
			if os.Link(program, name) != nil {
				if err := os.Symlink(program, name); err != nil {
					return err
				}
			}
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("newline", "\n")
			env.Setenv("GOOS", runtime.GOOS)
			env.Setenv("GOARCH", runtime.GOARCH)
			for _, name := range []string{"RUNTIMEGC_CONFIG", "GORACE"} { // see TestMain
				env.Setenv(name, os.Getenv(name))
			}
			env.Values["state"] = &scriptState{env.T().(testing.TB), make(map[string]tree)}
			return nil
		},
	})
}

// scriptRun runs a command and checks its exit code. No output may hold a secret, nor
// be that of a program that fell over.
func scriptRun(ts *testscript.TestScript, code string, command ...string) {
	want, err := strconv.Atoi(code)
	ts.Check(err)
	err = ts.Exec(command[0], command[1:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	for _, stream := range []string{"stdout", "stderr"} {
		text := ts.ReadFile(stream)
		checkSecrets(stateOf(ts).t, stream, text)
		for _, word := range []string{"DATA RACE", "panic", "goroutine "} {
			if strings.Contains(text, word) {
				ts.Fatalf("%s has %q", stream, word)
			}
		}
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARG...")
	}
	scriptRun(ts, args[0], args[1:]...)
}

func scriptRefuses(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: refuses CODE TEXT COMMAND ARG...")
	}
	scriptRun(ts, args[0], args[2:]...)
	if !strings.Contains(ts.ReadFile("stderr"), args[1]) {
		ts.Fatalf("stderr does not have %q", args[1])
	}
	if ts.ReadFile("stdout") != "" {
		ts.Fatalf("stdout is not empty")
	}
}

func scriptRefused(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: refused WHY ROOT")
	}
	for _, command := range []string{"watch", "prune", "list"} {
		for _, text := range []string{args[0], "refused", strconv.Quote(filepath.Clean(args[1]))} {
			scriptRefuses(ts, false, []string{"1", text, "runtimegc", command, "--root", args[1]})
		}
	}
}

func scriptDaemon(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: daemon DIR SPAWNED [SEEN]")
	}
	var times [2]time.Time
	for i, text := range args[1:] {
		if text != "-" {
			before, err := time.ParseDuration(text)
			ts.Check(err)
			times[i] = time.Now().Add(-before)
		}
	}
	root, name := filepath.Split(ts.MkAbs(args[0]))
	daemondirtest.Make(stateOf(ts).t, root, name, daemondirtest.Sidecar(times[0], times[1]), strconv.Itoa(daemondirtest.DeadPID))
}

func scriptSnapshot(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: snapshot DIR")
	}
	s := stateOf(ts)
	dir := ts.MkAbs(args[0])
	s.before[dir] = snapshot(s.t, dir)
}

func scriptUnchanged(ts *testscript.TestScript, neg bool, args []string) {
	s := stateOf(ts)
	if neg || len(args) != 0 || len(s.before) == 0 {
		ts.Fatalf("usage: unchanged, after snapshot DIR")
	}
	for dir, before := range s.before {
		before.mustEqual(s.t, snapshot(s.t, dir))
	}
}

func scriptAligned(ts *testscript.TestScript, neg bool, args []string) {
	lines := strings.Split(strings.TrimSuffix(ts.ReadFile("stdout"), "\n"), "\n")
	headings := regexp.MustCompile(`\S+( \S+)*`).FindAllStringIndex(lines[0], -1)
	if neg || len(args) != 0 || len(headings) < 5 || len(lines) < 2 {
		ts.Fatalf("stdout is no table of five columns or more")
	}
	for _, line := range lines[1:] {
		for _, heading := range headings {
			if at := heading[0]; at >= len(line) || line[at] == ' ' || at > 0 && line[at-1] != ' ' {
				ts.Fatalf("not aligned with its heading at column %d: %s", at, line)
			}
		}
	}
}

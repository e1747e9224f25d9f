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
//	refused WHY ROOT [OTHER...]        watch, prune and list must each end with exit code 1 and say WHY they refuse ROOT,
//	                                   and prune do so for each OTHER
//	daemon DIR SPAWNED [SEEN]          make the dir of a dead daemon, spawned and last seen so long ago; "-" leaves a time out
//	spawn DIR                          start a daemon (Linux)
//	snapshot DIR                       remember DIR and all below it
//	unchanged                          all that was remembered must be as it was
//	aligned                            each row of the table in stdout must have a column below each heading
var scriptCommands = map[string]scriptCommand{
	"exits":     {2, 100, scriptExits},
	"refuses":   {3, 100, scriptRefuses},
	"refused":   {2, 100, scriptRefused},
	"daemon":    {2, 3, scriptDaemon},
	"snapshot":  {1, 1, scriptSnapshot},
	"unchanged": {0, 0, scriptUnchanged},
	"aligned":   {0, 0, scriptAligned},
}

// scriptCommand takes so many arguments.
type scriptCommand struct {
	min, max int
	run      func(ts *testscript.TestScript, args []string)
}

func (c scriptCommand) call(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < c.min || len(args) > c.max {
		ts.Fatalf("the command is not used as scriptCommands says")
	}
	c.run(ts, args)
}

// scriptState is what the commands of one script share.
type scriptState struct {
	t      testing.TB
	before map[string]tree // by directory
}

func stateOf(ts *testscript.TestScript) *scriptState { return ts.Value("state").(*scriptState) }

func TestScripts(t *testing.T) {
	t.Parallel()
	notUnderRace(t)
	program := binary(t)
	commands := make(map[string]func(*testscript.TestScript, bool, []string))
	for name, command := range scriptCommands {
		commands[name] = command.call
	}
	testscript.Run(t, testscript.Params{
		Dir:                filepath.Join("testdata", "script"),
		Cmds:               commands,
		RequireUniqueNames: true,
		Deadline:           time.Now().Add(5 * patience),
		Setup: func(env *testscript.Env) error {
			bin := filepath.Join(env.WorkDir, ".bin")
			name := filepath.Join(bin, "runtimegc"+env.Getenv("exe"))
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
			env.Setenv("NOWATCH", noWatch())                              // what list says of a root without a watch
			for _, name := range []string{"RUNTIMEGC_CONFIG", "GORACE"} { // see TestMain
				env.Setenv(name, os.Getenv(name))
			}
			env.Values["state"] = &scriptState{env.T().(testing.TB), make(map[string]tree)}
			return nil
		},
	})
}

// scriptExits also checks that no output holds a secret, or is that of a program that
// fell over.
func scriptExits(ts *testscript.TestScript, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
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

func scriptRefuses(ts *testscript.TestScript, args []string) {
	scriptExits(ts, append(args[:1:1], args[2:]...))
	if !strings.Contains(ts.ReadFile("stderr"), args[1]) {
		ts.Fatalf("stderr does not have %q", args[1])
	}
	if ts.ReadFile("stdout") != "" {
		ts.Fatalf("stdout is not empty")
	}
}

func scriptRefused(ts *testscript.TestScript, args []string) {
	refuses := func(command, root string) {
		scriptRefuses(ts, []string{"1", args[0], "runtimegc", command, "--root", root})
		for _, text := range []string{"refused", strconv.Quote(filepath.Clean(root))} {
			if !strings.Contains(ts.ReadFile("stderr"), text) {
				ts.Fatalf("stderr does not have %q", text)
			}
		}
	}
	refuses("watch", args[1])
	refuses("list", args[1])
	for _, root := range args[1:] {
		refuses("prune", root)
	}
}

func scriptDaemon(ts *testscript.TestScript, args []string) {
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

func scriptSnapshot(ts *testscript.TestScript, args []string) {
	s := stateOf(ts)
	dir := ts.MkAbs(args[0])
	s.before[dir] = snapshot(s.t, dir)
}

func scriptUnchanged(ts *testscript.TestScript, args []string) {
	s := stateOf(ts)
	if len(s.before) == 0 {
		ts.Fatalf("there was no snapshot")
	}
	for dir, before := range s.before {
		before.mustEqual(s.t, snapshot(s.t, dir))
	}
}

func scriptAligned(ts *testscript.TestScript, args []string) {
	table, _, _ := strings.Cut(ts.ReadFile("stdout"), "\n\n")
	lines := strings.Split(table, "\n")
	headings := regexp.MustCompile(`\S+( \S+)*`).FindAllStringIndex(lines[0], -1)
	if len(headings) < 5 || len(lines) < 2 {
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

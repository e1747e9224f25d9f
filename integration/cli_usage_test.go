package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// Wrong input must end in an error that names what is wrong, in the exit code that
// scripts go by, and in nothing else: no result, no change on disk.
func TestWrongInput(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root := filepath.Join(dir, "runtime")
	due := filepath.Join(root, "due")
	if err := os.MkdirAll(due, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(due, "due.daemon.json"), daemondirtest.Sidecar(ago(24*time.Hour), time.Time{}), 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "a-file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = ""
	}
	before := snapshot(t, dir)
	for _, tt := range []struct {
		name string
		args string // blank-separated; ROOT and FILE are replaced, EMPTY is ""
		code int
		says string // in stderr
	}{
		{"no command", "", 2, "command"},
		{"no command, but a flag", "--root ROOT", 2, "command"},
		{"unknown command", "sweep --root ROOT", 2, `"sweep"`},
		{"unknown flag", "watch --root ROOT --fast", 2, "--fast"},
		{"unknown flag of prune", "prune --root ROOT --force", 2, "--force"},
		{"unknown flag of list", "list --root ROOT --dry-run", 2, "--dry-run"},
		{"unknown flag of the root command", "--force prune --root ROOT", 2, "--force"},
		{"flag of another command", "prune --root ROOT --sweep-interval 1s", 2, "--sweep-interval"},
		{"flag without its value", "prune --root", 2, "--root"},
		{"extra argument of watch", "watch --root ROOT extra", 2, `"extra"`},
		{"extra argument of prune", "prune --root ROOT due", 2, `"due"`},
		{"second name of list", "list --root ROOT due more", 2, `"more"`},
		{"name that there is not", "list --root ROOT nobody", 1, `"nobody"`},
		{"name that leads out of the root", "list --root ROOT ..", 1, `".."`},
		{"name of a file in a dir", "list --root ROOT due/due.daemon.json", 1, "due.daemon.json"},
		{"name and no root", "list --root ROOT/none due", 1, `"due"`},
		{"unknown state", "list --root ROOT --state dead,zombie", 2, `"zombie"`},
		{"empty state", "list --root ROOT --state EMPTY", 2, "--state"},
		{"name and state", "list --root ROOT --state dead due", 2, "--state"},
		{"malformed pattern", "prune --root ROOT --protect [a-", 2, "[a-"},
		{"malformed pattern of watch", "watch --root ROOT --protect ok --protect [", 2, "--protect"},
		{"empty pattern", "list --root ROOT --protect EMPTY", 2, "--protect"},
		{"zero stale-after", "prune --root ROOT --stale-after 0", 2, "--stale-after"},
		{"zero stale-after with a unit", "watch --root ROOT --stale-after 0s", 2, "--stale-after"},
		{"negative stale-after", "prune --root ROOT --stale-after -1s", 2, "--stale-after"},
		{"negative stale-after of list", "list --root ROOT --stale-after=-1h", 2, "--stale-after"},
		{"no duration", "prune --root ROOT --stale-after abc", 2, "--stale-after"},
		{"duration without a unit", "prune --root ROOT --stale-after 60", 2, "--stale-after"},
		{"stale-after beyond all durations", "prune --root ROOT --stale-after 9999999h", 2, "--stale-after"},
		{"zero sweep-interval", "watch --root ROOT --sweep-interval 0", 2, "--sweep-interval"},
		{"negative sweep-interval", "watch --root ROOT --sweep-interval -5m", 2, "--sweep-interval"},
		{"empty root", "prune --root EMPTY", 2, "--root"},
		{"empty root of watch", "watch --root=", 2, "--root"},
		{"empty root of list", "list --root EMPTY", 2, "--root"},
		{"unknown log format", "prune --root ROOT --log-format xml", 2, `"xml"`},
		{"empty log format", "list --root ROOT --log-format EMPTY", 2, "--log-format"},
		{"unknown log level", "watch --root ROOT --log-level loud", 2, `"loud"`},
		{"empty log level", "list --root ROOT --log-level EMPTY", 2, "--log-level"},
		{"boolean that is none", "prune --root ROOT --dry-run=maybe", 2, "--dry-run"},

		{"root is a file, watch", "watch --root FILE", 1, file},
		{"root is a file, prune", "prune --root FILE", 1, file},
		{"root is a file, list", "list --root FILE", 1, file},
		{"root is below a file", "prune --root FILE/runtime", 1, file},
		{"root is that of the file system", "prune --root /", 1, `"/"`},
		{"the same, otherwise spelled", "watch --root /tmp/..", 1, `"/"`},
		{"root is for temporary files", "watch --root /tmp", 1, `"/tmp"`},
		{"root is the home directory", "prune --root HOME", 1, home},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if filepath.Separator != '/' && strings.Contains(tt.args, " /") || home == "" && strings.Contains(tt.args, "HOME") {
				t.Skip("no such directory here")
			}
			args := strings.Fields(tt.args)
			for i, arg := range args {
				args[i] = strings.NewReplacer("ROOT", root, "FILE", file, "HOME", home, "EMPTY", "").Replace(arg)
			}
			o := run(t, args...)
			if o.code != tt.code {
				t.Errorf("%q: exit code %d, want %d", args, o.code, tt.code)
			}
			if !strings.Contains(o.stderr, tt.says) {
				t.Errorf("%q: stderr does not name %s:\n%s", args, tt.says, o.stderr)
			}
			if strings.Contains(o.stderr, "panic") || strings.Contains(o.stderr, "goroutine ") {
				t.Errorf("%q: it panicked:\n%s", args, o.stderr)
			}
			// Without a command its help is what is asked for.
			if o.stdout != "" && !strings.HasPrefix(tt.name, "no command") {
				t.Errorf("%q: stdout has\n%s", args, o.stdout)
			}
		})
	}
	before.mustEqual(t, snapshot(t, dir))
}

// Help is a result, not a mistake.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"--help", "help", "watch --help", "prune -h", "list --help", "help prune"} {
		o := run(t, strings.Fields(args)...).must(t)
		if !strings.Contains(o.stdout, "--root") || o.stderr != "" {
			t.Errorf("%q: stdout\n%s\nstderr\n%s", args, o.stdout, o.stderr)
		}
		for _, flag := range []string{"--stale-after", "--log-format", "--log-level"} {
			if !strings.Contains(o.stdout, flag) {
				t.Errorf("%q does not tell of %s", args, flag)
			}
		}
	}
}

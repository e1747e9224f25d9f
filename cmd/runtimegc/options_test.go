package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"runtimegc/prune"
	"runtimegc/registry/daemondir/daemondirtest"
)

// Flags override the environment, that daemon.toml, and that the defaults, each value on
// its own.
func TestPrecedence(t *testing.T) {
	both := "runtime_gc_interval_secs = 7\nruntime_gc_stale_after_secs = 70\n"
	for _, row := range []struct {
		rule       string
		args       string
		env        map[string]string
		file       string
		interval   time.Duration
		staleAfter time.Duration
	}{
		{"defaults", "", nil, "", prune.DefaultSweepInterval, prune.DefaultStaleAfter},
		{"the file over defaults", "", nil, both, 7 * time.Second, 70 * time.Second},
		{"a file that says one of them", "", nil, "runtime_gc_interval_secs = 7", 7 * time.Second, prune.DefaultStaleAfter},
		{"the environment over the file", "", map[string]string{"STALE_AFTER": "2h"}, both, 7 * time.Second, 2 * time.Hour},
		{"flags over the file", "--sweep-interval 3m", nil, both, 3 * time.Minute, 70 * time.Second},
		{"flags over all", "--stale-after 1h --sweep-interval 3m", map[string]string{"STALE_AFTER": "2h", "SWEEP_INTERVAL": "2m"}, both, 3 * time.Minute, time.Hour},
		{"the default, but asked for, over the file", "--stale-after 6h", nil, both, 7 * time.Second, 6 * time.Hour},
		{"an empty variable is none", "", map[string]string{"STALE_AFTER": "", "SWEEP_INTERVAL": ""}, both, 7 * time.Second, 70 * time.Second},
		{"a wrong variable that a flag overrides", "--stale-after 1h", map[string]string{"STALE_AFTER": "soon"}, "", prune.DefaultSweepInterval, time.Hour},
		{"a variable of no flag", "", map[string]string{"HELP": "maybe", "FROB": "1", "JSON": "no"}, "", prune.DefaultSweepInterval, prune.DefaultStaleAfter},
	} {
		t.Run(row.rule, func(t *testing.T) {
			t.Setenv("RUNTIMEGC_CONFIG", write(t, filepath.Join(t.TempDir(), "daemon.toml"), row.file))
			for name, value := range row.env {
				t.Setenv("RUNTIMEGC_"+name, value)
			}
			o, err := resolved(t, append(strings.Fields(row.args), "--root", t.TempDir())...)
			if err != nil {
				t.Fatal(err)
			}
			if want := (prune.Settings{StaleAfter: row.staleAfter, SweepInterval: row.interval}); o.times != want {
				t.Errorf("got %v, want %v", o.times, want)
			}
		})
	}
}

// Two collectors must not work on the same directories, whatever their names are.
func TestRootsApart(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, path := range []string{a, b, filepath.Join(a, "in")} {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"link": a, "later": filepath.Join(dir, "none"), "up": dir} {
		if err := daemondirtest.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Skip("no symlinks here")
		}
	}
	for _, row := range []struct {
		rule  string
		roots string
		says  string
	}{
		{"apart", "a b", ""},
		{"apart, and similar names", "a aa none", ""},
		{"twice", "a a", "same"},
		{"twice, otherwise spelled", "a b/../a", "same"},
		{"through a symlink", "a link", "same"},
		{"through a symlink above", "a up/a", "same"},
		{"twice and missing", "none none", "same"},
		{"missing, through a symlink", "later none", "same"},
		{"one inside the other", "a a/in", "lies in"},
		{"the other inside the one", "a/in a", "lies in"},
		{"inside, through a symlink", "link a/in", "lies in"},
		{"inside, and missing", "a b a/new/deep", "lies in"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			var args []string
			for _, root := range strings.Fields(row.roots) {
				args = append(args, "--root", dir+"/"+root)
			}
			for _, command := range []string{"list", "prune"} {
				var stdout, stderr bytes.Buffer
				code := run(t.Context(), append([]string{command}, args...), &stdout, &stderr)
				if row.says == "" && code != 0 || row.says != "" && (code != 2 || !strings.Contains(stderr.String(), row.says)) {
					t.Errorf("%s: exit code %d; %s", command, code, stderr.String())
				}
			}
		})
	}
}

// A textfile in the root would be an event there at every sweep, however its path is
// written.
func TestTextfileIsKeptOutOfTheRoot(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "runtime")
	if err := os.MkdirAll(filepath.Join(root, "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"link": root, "deep": filepath.Join(root, "a"), "out.prom": filepath.Join(root, "a", "x.prom")} {
		if err := daemondirtest.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Skip(err)
		}
	}
	for _, row := range []struct {
		path, root string
		refused    bool
	}{
		{"runtime/x.prom", "runtime", true},
		{"runtime/a/x.prom", "runtime", true},
		{"runtime/not/yet/x.prom", "runtime", true},
		{"link/x.prom", "runtime", true},
		{"runtime/x.prom", "link", true},
		{"deep/x.prom", "runtime", true},
		{"other/../runtime/x.prom", "runtime", true},
		{"missing/x.prom", "missing", true},
		{"x.prom", "runtime", false},
		{"runtime-metrics/x.prom", "runtime", false},
		{"x.prom", "missing", false},
		{"out.prom", "runtime", false}, // the link is what is replaced
	} {
		err := checkTextfile(filepath.Join(dir, row.path), []string{filepath.Join(dir, row.root)})
		if (err != nil) != row.refused {
			t.Errorf("%s with the root %s: %v, want refused: %v", row.path, row.root, err, row.refused)
		}
	}
}

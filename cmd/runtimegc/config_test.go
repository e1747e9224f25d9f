package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"runtimegc/prune"
)

// TestMain keeps the configuration of whoever runs the tests out of them.
func TestMain(m *testing.M) {
	os.Setenv("RUNTIMEGC_CONFIG", os.DevNull)
	os.Exit(m.Run())
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// resolved runs a command line of watch up to where it would begin.
func resolved(t *testing.T, args ...string) (*options, error) {
	t.Helper()
	o := newOptions()
	w := &watchOptions{options: o}
	cmd := newWatchCommand(o)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return w.resolve(cmd) }
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	o.addTo(cmd.PersistentFlags())
	cmd.SetArgs(args)
	cmd.SetErr(&bytes.Buffer{})
	err := cmd.Execute()
	return o, err
}

// Flags over environment over daemon.toml over defaults, for each value on its own.
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

// Every flag has its variable, the list as well.
func TestEnvironment(t *testing.T) {
	a, b, logs := t.TempDir(), t.TempDir(), t.TempDir()
	t.Setenv("RUNTIMEGC_ROOT", a+string(os.PathListSeparator)+b)
	t.Setenv("RUNTIMEGC_DRY_RUN", "true")
	t.Setenv("RUNTIMEGC_LOG_LEVEL", "error")
	t.Setenv("RUNTIMEGC_LOG_FORMAT", "console")
	t.Setenv("RUNTIMEGC_LOG_FILE", filepath.Join(logs, "log"))
	o, err := resolved(t)
	if err != nil {
		t.Fatal(err)
	}
	if got := o.roots.GetSlice(); len(got) != 2 || got[0] != a || got[1] != b {
		t.Errorf("roots are %q", got)
	}
	if dry, err := o.flags.GetBool("dry-run"); err != nil || !dry {
		t.Errorf("dry-run is %v, %v", dry, err)
	}
	if o.logLevel.word != "error" || o.logFormat.word != "console" || o.logTo == nil {
		t.Errorf("the log is %q %q %v", o.logLevel.word, o.logFormat.word, o.logTo)
	}
	if o, err = resolved(t, "--root", b); err != nil || len(o.roots.list) != 1 {
		t.Errorf("a flag does not take the place of the variable's list: %q, %v", o.roots.list, err)
	}
	for name, value := range map[string]string{
		"RUNTIMEGC_STALE_AFTER": "0s", "RUNTIMEGC_SWEEP_INTERVAL": "60", "RUNTIMEGC_DRY_RUN": "maybe", "RUNTIMEGC_LOG_LEVEL": "loud",
		"RUNTIMEGC_LOG_FORMAT": "xml", "RUNTIMEGC_ROOT": a + string(os.PathListSeparator),
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), []string{"watch"}, &stdout, &stderr); code != 2 || !strings.Contains(stderr.String(), name+" is \""+value) {
				t.Errorf("exit code %d, want 2 and the variable's name; %s", code, stderr.String())
			}
		})
	}
}

// A file that is wrong is refused with its name, the line and the key, and nothing else
// of it comes out: it may hold secrets.
func TestConfigFileIsRefused(t *testing.T) {
	const secret = "s3cret"
	for _, row := range []struct {
		rule string
		text string
		line int
		key  string
	}{
		{"text for a number", "\nruntime_gc_interval_secs = \"s3cret\"", 2, intervalKey},
		{"float", "a = 1\nb = 2\nruntime_gc_interval_secs = 300.0", 3, intervalKey},
		{"zero", "runtime_gc_stale_after_secs = 0", 1, staleAfterKey},
		{"negative", "runtime_gc_stale_after_secs = -5", 1, staleAfterKey},
		{"boolean", "runtime_gc_stale_after_secs = true", 1, staleAfterKey},
		{"list", "runtime_gc_stale_after_secs = [1]", 1, staleAfterKey},
		{"table", "[runtime_gc_stale_after_secs]\ns3cret = 1", 1, staleAfterKey},
		{"date", "runtime_gc_stale_after_secs = 2024-06-07", 1, staleAfterKey},
		{"more than a duration holds", "runtime_gc_stale_after_secs = 9223372037", 1, staleAfterKey},
		{"more than an integer holds", "runtime_gc_stale_after_secs = 92233720368547758080", 1, staleAfterKey},
		{"twice", "runtime_gc_interval_secs = 1\nruntime_gc_interval_secs = 2", 2, intervalKey},
		{"no value", "runtime_gc_interval_secs =\n", 1, intervalKey},
		{"no TOML", "token = \"s3cret\"\n\ntoken2 = s3cret", 3, "token2"},
		{"no TOML at all", "s3cret s3cret", 1, ""},
		{"string without an end", "token = \"s3cret\nx = 1", 1, "token"},
		{"bad escape", "[a]\ntoken = \"\\qs3cret\"", 2, "a.token"},
		{"bad date", "token = 2024-13-45T99:99:99Z", 1, "token"},
		{"table twice", "[a]\nx = 1\n[a]\ny = 2", 3, "a"},
		{"not UTF-8", "token = \"\xff s3cret\"", 1, ""},
		{"control character", "# s3cret\ntoken = \"\x01\"", 2, ""},
	} {
		t.Run(row.rule, func(t *testing.T) {
			path := write(t, filepath.Join(t.TempDir(), "daemon.toml"), row.text)
			s, err := configFile{path: path}.read()
			if err == nil || s != (prune.Settings{}) {
				t.Fatalf("got %v, %v", s, err)
			}
			text := err.Error()
			for _, want := range []string{path, fmt.Sprintf(" line %d:", row.line), row.key} {
				if !strings.Contains(text, want) {
					t.Errorf("%q does not name %q", text, want)
				}
			}
			if strings.Contains(text, secret) {
				t.Errorf("%q quotes the file", text)
			}
			t.Log(text)
			for _, command := range []string{"watch", "prune", "list"} {
				var stdout, stderr bytes.Buffer
				args := []string{command, "--root", t.TempDir(), "--config", path}
				if code := run(t.Context(), args, &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), "line") || strings.Contains(stderr.String(), secret) {
					t.Errorf("%s: exit code %d, want 1; %s", command, code, stderr.String())
				}
			}
		})
	}
}

// What is not ours in the file is the manager's business.
func TestConfigFileIsShared(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "daemon.toml"), `
idle_timeout_secs = 600
runtime_gc_interval_secs = 9_223_372_036
Runtime_GC_Stale_After_Secs = "not ours: a key is what it is to the letter"

[dev]
runtime_gc_stale_after_secs = "not ours: in a table"

[[autostart]]
argv = ["sleep", "1"]
env = { TOKEN = "secret" }
`)
	s, err := configFile{path: path}.read()
	if want := (prune.Settings{SweepInterval: 9_223_372_036 * time.Second}); err != nil || s != want {
		t.Errorf("got %v, %v, want %v", s, err, want)
	}
}

// A file that is not there is fine unless it was asked for; one that cannot be read
// never is.
func TestConfigFileIsMissing(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none.toml")
	if s, err := (configFile{path: none}).read(); err != nil || s != (prune.Settings{}) {
		t.Errorf("missing: %v, %v", s, err)
	}
	if s, err := (configFile{}).read(); err != nil || s != (prune.Settings{}) {
		t.Errorf("no place for one: %v, %v", s, err)
	}
	if _, err := (configFile{path: none, must: true}).read(); err == nil || !strings.Contains(err.Error(), none) {
		t.Errorf("missing, though asked for: %v", err)
	}
	dir := t.TempDir()
	if _, err := (configFile{path: dir}).read(); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a directory: %v", err)
	}
	if os.Getuid() == 0 || runtime.GOOS == "windows" {
		t.Skip("nothing is unreadable to root")
	}
	path := write(t, filepath.Join(t.TempDir(), "daemon.toml"), "")
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := (configFile{path: path}).read(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("unreadable: %v", err)
	}
}

// The file is where the daemon manager looks for it.
func TestDefaultConfig(t *testing.T) {
	if filepath.Separator != '/' {
		t.Skip("paths of Unix")
	}
	for _, row := range []struct {
		goos, home string
		env        map[string]string
		want       string
	}{
		{"linux", "/home/u", nil, "/home/u/.config/running-process/daemon.toml"},
		{"linux", "/home/u", map[string]string{"XDG_CONFIG_HOME": "/x"}, "/x/running-process/daemon.toml"},
		{"linux", "", map[string]string{"XDG_CONFIG_HOME": "/x"}, "/x/running-process/daemon.toml"},
		{"linux", "/home/u", map[string]string{"XDG_CONFIG_HOME": "x"}, "/home/u/.config/running-process/daemon.toml"},
		{"linux", "", nil, ""},
		{"freebsd", "/home/u", nil, "/home/u/.config/running-process/daemon.toml"},
		{"darwin", "/Users/u", map[string]string{"XDG_CONFIG_HOME": "/x"}, "/Users/u/Library/Application Support/running-process/daemon.toml"},
		{"darwin", "", map[string]string{"XDG_CONFIG_HOME": "/x"}, ""},
		{"windows", "/home/u", map[string]string{"APPDATA": "/roaming"}, "/roaming/running-process/daemon.toml"},
		{"windows", "/home/u", nil, ""},
	} {
		if got := defaultConfig(row.goos, row.home, func(name string) string { return row.env[name] }); got != row.want {
			t.Errorf("%s, home %q, %v: got %q, want %q", row.goos, row.home, row.env, got, row.want)
		}
	}
}

// The default place is read, and its absence, and that of a home, are no error.
func TestDefaultConfigIsRead(t *testing.T) {
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		t.Skip("another place")
	}
	t.Setenv("RUNTIMEGC_CONFIG", "")
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	root := t.TempDir()
	if o, err := resolved(t, "--root", root); err != nil || o.times.StaleAfter != prune.DefaultStaleAfter {
		t.Errorf("without a file: %v, %v", o.times, err)
	}
	write(t, filepath.Join(dir, "running-process", "daemon.toml"), "runtime_gc_stale_after_secs = 70")
	if o, err := resolved(t, "--root", root); err != nil || o.times.StaleAfter != 70*time.Second {
		t.Errorf("with a file: %v, %v", o.times, err)
	}
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("HOME", "")
	if o, err := resolved(t, "--root", root); err != nil || o.times.StaleAfter != prune.DefaultStaleAfter {
		t.Errorf("without a home: %v, %v", o.times, err)
	}
}

// Two collectors must not work on the same directories, by whatever name.
func TestRootsApart(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, path := range []string{a, b, filepath.Join(a, "in")} {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"link": a, "later": filepath.Join(dir, "none"), "up": dir} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
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

// A textfile in the root would be an event there at every sweep, whatever way it is
// named.
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
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
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
		err := textfileApart(filepath.Join(dir, row.path), []string{filepath.Join(dir, row.root)})
		if (err != nil) != row.refused {
			t.Errorf("%s with the root %s: %v, want refused: %v", row.path, row.root, err, row.refused)
		}
	}
}

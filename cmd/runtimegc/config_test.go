package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"runtimegc/prune"
)

// resolved returns the options of a command line of watch, which does not run.
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

// Every flag has a variable, including those that hold a list.
func TestEnvironment(t *testing.T) {
	a, b, logs := t.TempDir(), t.TempDir(), logDir(t)
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
		t.Errorf("a flag does not replace the list of the variable: %q, %v", o.roots.list, err)
	}
	for name, value := range map[string]string{
		"RUNTIMEGC_STALE_AFTER": "0s", "RUNTIMEGC_SWEEP_INTERVAL": "60", "RUNTIMEGC_DRY_RUN": "maybe", "RUNTIMEGC_LOG_LEVEL": "loud",
		"RUNTIMEGC_LOG_FORMAT": "xml", "RUNTIMEGC_ROOT": a + string(os.PathListSeparator),
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), []string{"watch"}, &stdout, &stderr); code != 2 || !strings.Contains(stderr.String(), name+" is "+strings.TrimSuffix(strconv.Quote(value), `"`)) {
				t.Errorf("exit code %d, want 2 and the variable's name; %s", code, stderr.String())
			}
		})
	}
}

// The error for an invalid file has its name, the line and the key, and nothing else of
// the file: it may hold secrets.
func TestConfigFileIsRefused(t *testing.T) {
	// The parser's messages quote a word of letters, a number that is too large, and what looks
	// like a date.
	secrets := []string{"s3cret", "opensesame", "98765432109876543210", "2077-13-77"}
	quotes := func(text string) bool {
		return slices.ContainsFunc(secrets, func(s string) bool { return strings.Contains(text, s) })
	}
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
		{"protect: text", "\nruntime_gc_protect = \"s3cret\"", 2, protectKey},
		{"protect: a number in the list", "runtime_gc_protect = [\"db-*\", 1]", 1, protectKey},
		{"protect: no pattern", "runtime_gc_protect = [\"[s3cret\"]", 1, protectKey},
		{"protect: empty pattern", "runtime_gc_protect = [\"\"]", 1, protectKey},
		{"twice", "runtime_gc_interval_secs = 1\nruntime_gc_interval_secs = 2", 2, intervalKey},
		{"no value", "runtime_gc_interval_secs =\n", 1, intervalKey},
		{"no TOML", "token = \"s3cret\"\n\ntoken2 = s3cret", 3, "token2"},
		{"no TOML at all", "s3cret s3cret", 1, ""},
		{"string without an end", "token = \"s3cret\nx = 1", 1, "token"},
		{"bad escape", "[a]\ntoken = \"\\qs3cret\"", 2, "a.token"},
		{"bad date", "token = 2024-13-45T99:99:99Z", 1, "token"},
		{"table twice", "[a]\nx = 1\n[a]\ny = 2", 3, "a"},
		{"not UTF-8", "token = \"\xff s3cret\"", 1, ""},
		{"a word for a value", "[a]\ntoken = opensesame", 2, "a.token"},
		{"a word that begins like a number", "token = nopensesame", 1, "token"},
		{"a number too large", "token = 98765432109876543210", 1, "token"},
		{"a float too large", "token = 98765432109876543210e98765432109876543210", 1, "token"},
		{"no date", "token = 2077-13-77", 1, "token"},
		{"a word among our patterns", "runtime_gc_protect = [opensesame]", 1, protectKey},
		{"control character", "# s3cret\ntoken = \"\x01\"", 2, ""},
	} {
		t.Run(row.rule, func(t *testing.T) {
			path := write(t, filepath.Join(t.TempDir(), "daemon.toml"), row.text)
			s, err := configFile{path: path}.read()
			if err == nil || s.Settings != (prune.Settings{}) || s.protect != nil {
				t.Fatalf("got %v, %v", s, err)
			}
			text := err.Error()
			for _, want := range []string{strconv.Quote(path), fmt.Sprintf(" line %d:", row.line), row.key} {
				if !strings.Contains(text, want) {
					t.Errorf("%q does not name %q", text, want)
				}
			}
			if quotes(text) {
				t.Errorf("%q quotes the file", text)
			}
			t.Log(text)
			for _, command := range []string{"watch", "prune", "list"} {
				var stdout, stderr bytes.Buffer
				args := []string{command, "--root", t.TempDir(), "--config", path}
				if code := run(t.Context(), args, &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), "line") || quotes(stderr.String()) {
					t.Errorf("%s: exit code %d, want 1; %s", command, code, stderr.String())
				}
			}
		})
	}
}

// Other keys of the file belong to the daemon manager, and are ignored.
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
	if want := (prune.Settings{SweepInterval: 9_223_372_036 * time.Second}); err != nil || s.Settings != want || s.protect != nil {
		t.Errorf("got %v, %v, want %v", s, err, want)
	}
}

// A missing file is an error only if the user gave it; one that cannot be read always is.
func TestConfigFileIsMissing(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none.toml")
	if s, err := (configFile{path: none}).read(); err != nil || s.Settings != (prune.Settings{}) || s.protect != nil {
		t.Errorf("missing: %v, %v", s, err)
	}
	if s, err := (configFile{}).read(); err != nil || s.Settings != (prune.Settings{}) || s.protect != nil {
		t.Errorf("no place for one: %v, %v", s, err)
	}
	if _, err := (configFile{path: none, must: true}).read(); err == nil || !strings.Contains(err.Error(), none) {
		t.Errorf("missing, but given: %v", err)
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

// The file in the default place is read; it and the home directory may be missing.
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

package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"runtimegc/prune"
)

// A variable of any flag of any command is known, and no other one.
func TestUnknownVariables(t *testing.T) {
	root := newRootCommand(newOptions())
	for entry, want := range map[string]string{
		"RUNTIMEGC_STALE_AFTER=6h":     "",
		"RUNTIMEGC_STATE=dead":         "", // of list only
		"RUNTIMEGC_METRICS_LISTEN=910": "", // of watch only
		"RUNTIMEGC_ACTIVE_HELP=0":      "", // of cobra
		"RUNTIMEGC_STALE_AFTR=":        "", // empty, so unset
		"runtimegc_stale=x":            "",
		"GCTEST_LONG=1":                "",
		"HOME=/RUNTIMEGC_X":            "",
		"RUNTIMEGC_STALE_AFTR=s3cret":  "environment variable RUNTIMEGC_STALE_AFTR is not a setting, and has no effect; did you mean RUNTIMEGC_STALE_AFTER?",
		"RUNTIMEGC_ROOTS=s3cret":       "environment variable RUNTIMEGC_ROOTS is not a setting, and has no effect; did you mean RUNTIMEGC_ROOT?",
		"RUNTIMEGC_HELP=s3cret":        "environment variable RUNTIMEGC_HELP is not a setting, and has no effect",
		"RUNTIMEGC_\x1b[31H=s3cret":    `environment variable RUNTIMEGC_\x1b[31H is not a setting, and has no effect`,
	} {
		got := ""
		for _, u := range unknownVariables(root, []string{"A=b", entry}) {
			got += u.String()
		}
		if got != want && !(strings.HasPrefix(entry, "runtimegc_") && got != "") { // Windows
			t.Errorf("%s: got %q, want %q", entry, got, want)
		}
	}
}

// A key that looks like one of ours and is none is named, and has no effect.
func TestUnknownKeys(t *testing.T) {
	for text, want := range map[string]string{
		"runtime_gc_stale_after_secs = 1": "",
		"idle_timeout_secs = 1":           "",
		"[runtime]\ngc = 1":               "",
		"runtime_gc_stale_after = 1":      "key runtime_gc_stale_after; did you mean runtime_gc_stale_after_secs?",
		"runtime-gc-interval-secs = 1":    "key runtime-gc-interval-secs; did you mean runtime_gc_interval_secs?",
		"Runtime_GC_Protect = 1":          "key Runtime_GC_Protect; did you mean runtime_gc_protect?",
		"runtimegc_protect = \"s3cret\"":  "key runtimegc_protect; did you mean runtime_gc_protect?",
		"runtime_gc_colour = \"s3cret\"":  "key runtime_gc_colour",
		"[dev]\nruntime_gc_protect = 1":   "key dev.runtime_gc_protect; it is in a table; move it up, before the first table",
		"[[autostart]]\nruntime_gc_protect = 1\n[[autostart]]\nruntime_gc_protect = 1": "key autostart.runtime_gc_protect; it is in a table; move it up, before the first table",
	} {
		path := write(t, filepath.Join(t.TempDir(), "daemon.toml"), text)
		s, err := configFile{path: path}.read()
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		got := ""
		for _, u := range s.unknown {
			got += strings.Replace(u.String(), " in "+path+" is not a setting, and has no effect", "", 1)
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
		if want != "" && s.Settings != (prune.Settings{}) || s.protect != nil {
			t.Errorf("%q has an effect: %v", text, s)
		}
	}
}

// config names them on stderr, and what it prints stays what it is.
func TestSettingsNameTheUnknown(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "daemon.toml"), "runtime_gc_stale_after = \"s3cret\"\n")
	t.Setenv("RUNTIMEGC_STALE_AFTR", "s3cret")
	for _, format := range [][]string{nil, {"--json"}} {
		var stdout, stderr bytes.Buffer
		args := append([]string{"config", "--root", t.TempDir(), "--config", file}, format...)
		if code := run(t.Context(), args, &stdout, &stderr); code != 0 {
			t.Errorf("exit code %d, want 0; %s", code, &stderr)
		}
		want := "runtimegc: warning: environment variable RUNTIMEGC_STALE_AFTR is not a setting, and has no effect; did you mean RUNTIMEGC_STALE_AFTER?\n" +
			"runtimegc: warning: key runtime_gc_stale_after in " + file + " is not a setting, and has no effect; did you mean runtime_gc_stale_after_secs?\n"
		if stderr.String() != want || strings.Contains(stdout.String(), "AFTR") || strings.Contains(stdout.String(), "s3cret") {
			t.Errorf("stderr is\n%swant\n%s; stdout is\n%s", &stderr, want, &stdout)
		}
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// Each setting has the value that a watch would have, and says where that comes from.
func TestSettings(t *testing.T) {
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "daemon.toml"), "token = \"s3cret\"\nruntime_gc_stale_after_secs = 3600\n"+
		"runtime_gc_interval_secs = 60\nruntime_gc_protect = [\"db-*\"]\n")
	t.Setenv("RUNTIMEGC_SWEEP_INTERVAL", "90s")
	t.Setenv("RUNTIMEGC_LOG_LEVEL", "debug")
	args := []string{"config", "--json", "--config", file, "--root", dir, "--protect", "web", "--dry-run", "--log-level", "warn"}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), args, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Fatalf("exit code %d, %s", code, &stderr)
	}
	var got map[string]setting
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]setting{
		"stale-after":    {Value: "1h0m0s", From: "runtime_gc_stale_after_secs in " + file},
		"sweep-interval": {Value: "1m30s", From: "RUNTIMEGC_SWEEP_INTERVAL"},
		"log-level":      {Value: "warn", From: "--log-level"},
		"protect":        {Value: "web db-*", From: "--protect and runtime_gc_protect in " + file},
		"dry-run":        {Value: "true", From: "--dry-run"},
		"root":           {Value: dir, From: "--root"},
		"config":         {Value: file, From: "--config"},
		"invalid-after":  {Value: "off", From: "default"},
		"metrics-listen": {From: "default"},
	} {
		if got[name] != want {
			t.Errorf("%s: got %+v, want %+v", name, got[name], want)
		}
	}
	// It leaves out no flag of watch.
	newWatchCommand(newOptions()).Flags().VisitAll(func(f *pflag.Flag) {
		if _, ok := got[f.Name]; !ok {
			t.Errorf("there is no %s", f.Name)
		}
	})
	if strings.Contains(stdout.String(), "s3cret") {
		t.Error("it prints what is nobody's business")
	}

	t.Setenv("RUNTIMEGC_CONFIG", filepath.Join(dir, "none.toml"))
	stdout.Reset()
	if code := run(t.Context(), []string{"config", "--root", dir}, &stdout, &stderr); code != 1 {
		t.Errorf("without the file that is named: exit code %d, %s", code, &stdout)
	}
	t.Setenv("RUNTIMEGC_CONFIG", "")
	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	t.Setenv("HOME", home)
	t.Setenv("APPDATA", home)
	stdout.Reset()
	if code := run(t.Context(), []string{"config", "--root", dir}, &stdout, &stderr); code != 0 || !regexp.MustCompile(`(?m)^config +\S+daemon.toml +default, but there is none$`).Match(stdout.Bytes()) {
		t.Errorf("without a file: exit code %d\n%s", code, &stdout)
	}
}

// What a watch would refuse is refused, and nothing is made.
func TestSettingsAreChecked(t *testing.T) {
	root := t.TempDir()
	bad := write(t, filepath.Join(t.TempDir(), "daemon.toml"), "runtime_gc_stale_after_secs = 0\n")
	log := filepath.Join(t.TempDir(), "log")
	for args, code := range map[string]int{
		"--config " + bad:                          1,
		"--root /":                                 1,
		"--root " + root + "/a --root " + root:     2,
		"--log-file " + root + "/log":              2,
		"--metrics-textfile " + root + "/a.prom":   2,
		"--stale-after 0":                          2,
		"--log-file " + log + " --log-level debug": 0,
	} {
		var stdout, stderr bytes.Buffer
		if got := run(t.Context(), strings.Fields("config --root "+root+" "+args), &stdout, &stderr); got != code {
			t.Errorf("%s: exit code %d, want %d; %s", args, got, code, &stderr)
		}
	}
	if _, err := os.Stat(log); err == nil {
		t.Error("it made the log file")
	}
}

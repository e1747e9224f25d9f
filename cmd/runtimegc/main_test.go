package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"runtimegc/registry/daemondir/daemondirtest"
)

// TestMain hides the configuration of whoever runs the tests.
func TestMain(m *testing.M) {
	os.Setenv("RUNTIMEGC_CONFIG", os.DevNull)
	os.Exit(m.Run())
}

func TestExitCodes(t *testing.T) {
	root := t.TempDir()
	for _, row := range []struct {
		args string
		code int
	}{
		{"list --root " + root, 0},
		{"prune --root " + root, 0},
		{"--help", 0},
		{"list --root " + root + "/none", 0},
		{"list nobody --root " + root, 1}, {"list .. --root " + root, 1}, {"list a/b --root " + root, 1},
		{"list --state dead,alive --root " + root, 0}, {"list --state dead --state unknown --root " + root, 0},
		{"list --state zombie --root " + root, 2}, {"list --state dead, --root " + root, 2}, {"list --state= --root " + root, 2},
		{"list x --state dead --root " + root, 2},
		{"list --protect [ --root " + root, 2}, {"prune --protect= --root " + root, 2}, {"watch --protect a --protect [a --root " + root, 2},
		{"list --protect a* --protect b --root " + root, 0},
		{"", 2}, {"frob", 2}, {"list x y", 2}, {"--frob", 2}, {"list --frob", 2},
		{"list --stale-after 0s", 2}, {"prune --stale-after -1h", 2}, {"list --stale-after soon", 2},
		{"list --invalid-after 0s", 2}, {"list --invalid-after 30", 2}, {"list --invalid-after 30d --root " + root, 0},
		{"watch --sweep-interval 0s --root " + root, 2}, {"watch --sweep-interval 1us --root " + root, 2},
		{"list --root=", 2}, {"list --log-format xml", 2}, {"list --log-level loud", 2}, {"list --log-level disabled", 2},
		{"watch --metrics-listen x --root " + root, 2}, {"list --metrics-listen 0", 2}, {"prune --metrics-listen 0", 2},
		{"watch --metrics-textfile x --root " + root, 2}, {"watch --metrics-textfile " + root + "/x.prom --root " + root, 2},
		{"prune --metrics-textfile " + root + "/x.prom --root " + root, 2},
		{"prune --metrics-textfile " + root + "-none/x.prom --root " + root, 1},
		{"list --root /", 1}, {"watch --root /", 1}, {"prune --root /", 1},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), strings.Fields(row.args), &stdout, &stderr); code != row.code {
			t.Errorf("runtimegc %s: exit code %d, want %d; %s", row.args, code, row.code, stderr.String())
		}
		if (row.code != 0) != strings.Contains(stderr.String(), "runtimegc: ") {
			t.Errorf("runtimegc %s: stderr is %q", row.args, stderr.String())
		}
	}
}

// write writes a file, and makes the directories above it; it returns the path.
func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	daemondirtest.WriteFile(t, path, text)
	return path
}

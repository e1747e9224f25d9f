//go:build man

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"runtimegc/prune"
)

// The man pages cover every command and every reason, do not show the home directory
// they were made in, and satisfy the linters that are installed here.
func TestManPages(t *testing.T) {
	man := func(want int, args ...string) (string, string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), append([]string{"man"}, args...), &stdout, &stderr); code != want {
			t.Fatalf("man %q: exit code %d, want %d: %s", args, code, want, &stderr)
		}
		return stdout.String(), stderr.String()
	}
	page, _ := man(0)
	dir := t.TempDir()
	if out, _ := man(0, dir); out != "" {
		t.Errorf("man DIR printed %s", out)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		names = append(names, file.Name())
	}
	if want := []string{"runtimegc-config.1", "runtimegc-list.1", "runtimegc-protect.1", "runtimegc-prune.1", "runtimegc-service.1", "runtimegc-unprotect.1", "runtimegc-version.1", "runtimegc-watch.1", "runtimegc.1"}; !slices.Equal(names, want) {
		t.Errorf("man DIR wrote %q, want %q", names, want)
	}
	for _, word := range []string{".SH REASONS", ".SH EXIT STATUS", ".SH ENVIRONMENT", ".SH FILES", "--protect"} {
		if !strings.Contains(page, word) {
			t.Errorf("the page does not have %q:\n%s", word, page)
		}
	}
	for _, info := range prune.Reasons() {
		// md2man sets bold as \fB...\fP.
		if !regexp.MustCompile(`(?m)^\\fB` + string(info.Reason) + `\\fP$`).MatchString(page) {
			t.Errorf("the page does not explain %s", info.Reason)
		}
	}
	if home, err := os.UserHomeDir(); err == nil && len(home) > 1 && strings.Contains(page, home) {
		t.Errorf("the page shows the home directory %s", home)
	}
	if _, text := man(1, filepath.Join(dir, "none")); !strings.Contains(text, "none") {
		t.Errorf("the error does not name the missing directory: %s", text)
	}
	man(2, dir, dir)
	for _, linter := range [][]string{
		{"mandoc", "-T", "lint", "-W", "error"},
		{"groff", "-ww", "-man", "-z", "-Kutf8"},
		{"man", "--warnings=w", "-l"},
	} {
		t.Run(linter[0], func(t *testing.T) {
			path, err := exec.LookPath(linter[0])
			if err != nil {
				t.Skip(linter[0] + " is not installed")
			}
			for _, name := range names {
				cmd := exec.Command(path, append(linter[1:], filepath.Join(dir, name))...)
				var faults strings.Builder
				cmd.Stderr = &faults
				if out, err := cmd.Output(); err != nil || faults.Len() > 0 {
					t.Errorf("%s: %v\n%s%s", name, err, faults.String(), out[:min(len(out), 500)])
				}
			}
		})
	}
}

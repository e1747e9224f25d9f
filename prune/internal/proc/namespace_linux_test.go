//go:build !portable

package proc

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestForeignNamespace(t *testing.T) {
	if err := Foreign(); err != nil {
		t.Errorf("the /proc of this test: %v", err)
	}
	for _, row := range []struct {
		rule   string
		status string // empty: there is no such file
		self   string // the link; empty: a directory
		want   bool
	}{
		{"one pid, ours", "Name:\tx\nNSpid:\t42\nNSpgid:\t42\n", "", false},
		{"one pid, another", "NSpid:\t43\n", "", true},
		{"ours behind another: a new namespace, an old /proc", "NSpid:\t1234\t42\n", "", true},
		{"ours before another", "NSpid:\t42\t1\n", "", true},
		{"no number", "NSpid:\n", "", true},
		{"not there: a sibling's /proc, or none", "", "", true},
		{"before Linux 4.1, ours", "Name:\tx\n", "42", false},
		{"before Linux 4.1, another", "Name:\tx\n", "1234", true},
	} {
		dir := t.TempDir()
		self := filepath.Join(dir, "self")
		if row.self != "" {
			if err := os.Symlink(row.self, self); err != nil {
				t.Fatal(err)
			}
			self = filepath.Join(dir, row.self)
		}
		if err := os.Mkdir(self, 0o755); err != nil {
			t.Fatal(err)
		}
		if row.status != "" {
			if err := os.WriteFile(filepath.Join(self, "status"), []byte(row.status), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := foreign(dir, 42); (err != nil) != row.want {
			t.Errorf("%s: %v", row.rule, err)
		}
	}
	if err := foreign(filepath.Join(t.TempDir(), "none"), 42); err == nil || errors.Is(err, errForeign) {
		t.Errorf("no /proc: %v", err)
	}
}

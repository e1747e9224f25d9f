//go:build !portable

package fsys

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Whether the top keeps other users' files depends on its mode and its owner.
func TestFactsOfTheTop(t *testing.T) {
	root := t.TempDir()
	top := filepath.Join(root, "top")
	if err := os.Mkdir(top, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(top, 0o755|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	d := openTestTree(t, root, "top").top
	d.uid = euid + 1
	if _, err := d.facts(""); err != nil || d.mode&unix.S_ISVTX == 0 || d.uid != euid {
		t.Errorf("mode %o, owner %d, %v", d.mode, d.uid, err)
	}
}

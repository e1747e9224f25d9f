//go:build unix

package fsys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Renaming replaces nothing, and to no name is to nowhere.
func TestRename(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r, err := OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, row := range []struct {
		from, to string
		want     error
	}{{"a", "b", fs.ErrExist}, {"a", "", fs.ErrNotExist}, {"none", "c", fs.ErrNotExist}, {"a", "c", nil}} {
		if err := r.Rename(row.from, row.to); !errors.Is(err, row.want) {
			t.Errorf("%q to %q: %v, want %v", row.from, row.to, err, row.want)
		}
	}
}

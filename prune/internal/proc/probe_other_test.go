//go:build !linux || portable

package proc

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

func TestMain(m *testing.M) { daemondirtest.Main(m) }

func TestLocate(t *testing.T) {
	root := t.TempDir()
	dir, other := filepath.Join(root, "a"), filepath.Join(root, "ab")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Mkdir(other, 0o755)); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(root, link); err != nil {
		t.Skipf("no symlinks: %v", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	id := daemondir.Identify(info)
	for _, row := range []struct {
		rule, exe, in string
		want          Whereabouts
	}{
		{"in the dir", filepath.Join(dir, "a"), dir, ExeInside},
		{"its link gone", filepath.Join(dir, "a (deleted)"), dir, ExeInside},
		{"below the dir", filepath.Join(dir, "bin", "x"), dir, ExeInside},
		{"in a dir whose name begins alike", filepath.Join(other, "ab"), dir, ExeElsewhere},
		{"elsewhere", "/", dir, ExeElsewhere},
		{"the root is reached by a symlink, the kernel names the real one", filepath.Join(dir, "a"), filepath.Join(link, "a"), ExeInside},
		{"in a directory that is not there", "/no/such/dir/a", dir, ExeUnknown},
	} {
		t.Run(row.rule, func(t *testing.T) {
			if row.in != dir && id == (daemondir.FileID{}) {
				t.Skip("directories have no identity on this system")
			}
			if got := (Query{Dir: row.in, ID: id}).locate(row.exe); got != row.want {
				t.Errorf("got %d, want %d", got, row.want)
			}
		})
	}
}

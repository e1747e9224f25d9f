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

// What is told of a process that lives, has exited, is gone.
func TestInspect(t *testing.T) {
	d, cmd := daemondirtest.MakeLive(t, t.TempDir(), "a")
	dir, err := daemondir.Open(d.Root, d.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	ask := func() Facts {
		f, h := inspect(uint32(cmd.Process.Pid), Query{Dir: d.Path(), ID: dir.ID()})
		h.Close()
		return f
	}
	if f := ask(); !f.Exists || f.Zombie || !f.Start.Known || f.Exe != ExeInside || f.Foreign {
		t.Errorf("live: %+v", f)
	}
	_ = cmd.Process.Kill()
	daemondirtest.Eventually(t, "it has exited", func() bool { f := ask(); return f.Zombie || !f.Exists })
	_ = cmd.Wait()
	if f := ask(); f.Exists || f.Zombie {
		t.Errorf("gone: %+v", f)
	}
}

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

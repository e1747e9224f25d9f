//go:build !portable

package daemondir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir/daemondirtest"
)

// The kernel itself refuses to follow a symlink on the way, and to leave the directory,
// whatever the flags for the last component.
func TestOpenBeneath(t *testing.T) {
	base := t.TempDir()
	for _, dir := range []string{"root/in", "outside"} {
		if err := os.MkdirAll(filepath.Join(base, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"root/in/file", "outside/file"} {
		daemondirtest.WriteFile(t, filepath.Join(base, file), "")
	}
	root := filepath.Join(base, "root")
	symlink(t, "in", filepath.Join(root, "neighbour"))
	symlink(t, "../outside", filepath.Join(root, "out"))
	symlink(t, "file", filepath.Join(root, "in", "last"))
	r, err := OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for path, want := range map[string]error{
		"in/file":                              nil,
		"in/../in/file":                        nil,
		"in/last":                              unix.ELOOP,
		"neighbour/file":                       unix.ELOOP,
		"out/file":                             unix.ELOOP,
		"../outside/file":                      unix.EXDEV,
		"in/../../outside/file":                unix.EXDEV,
		filepath.Join(base, "outside", "file"): unix.EXDEV,
	} {
		fd, err := OpenBeneath(r.fd, path, unix.O_RDONLY, 0)
		if err == nil {
			unix.Close(fd)
		}
		if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
			t.Skipf("no openat2: %v", err)
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}

// A mount on the way is entered unless the caller forbids it.
func TestOpenBeneathMount(t *testing.T) {
	if !daemondirtest.InChild(t, unix.CLONE_NEWUSER|unix.CLONE_NEWNS) {
		return
	}
	root, elsewhere := t.TempDir(), t.TempDir()
	daemondirtest.Make(t, root, "web", "{}", "1")
	daemondirtest.Make(t, elsewhere, "web", "{}", "1")
	daemondirtest.Mount(t, filepath.Join(elsewhere, "web"), filepath.Join(root, "web"))
	r, err := OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for resolve, want := range map[uint64]error{0: nil, unix.RESOLVE_NO_XDEV: unix.EXDEV} {
		fd, err := OpenBeneath(r.fd, "web/daemon.pid", unix.O_RDONLY, resolve)
		if err == nil {
			unix.Close(fd)
		}
		if errors.Is(err, unix.ENOSYS) {
			t.Skipf("no openat2: %v", err)
		}
		if !errors.Is(err, want) {
			t.Errorf("resolve %#x: %v, want %v", resolve, err, want)
		}
	}
}

// A symlink in a dir's place leads nowhere, not even to a neighbour that has a sidecar of
// that very name; nor does one in the sidecar's place.
func TestOpenSidecarBehindSymlink(t *testing.T) {
	root, elsewhere := t.TempDir(), t.TempDir()
	daemondirtest.Make(t, root, "neighbour", "{}", "1")
	daemondirtest.WriteFile(t, filepath.Join(root, "neighbour", "near.daemon.json"), "{}")
	symlink(t, "neighbour", filepath.Join(root, "near"))
	daemondirtest.Make(t, elsewhere, "far", "{}", "1")
	symlink(t, filepath.Join(elsewhere, "far"), filepath.Join(root, "far"))
	last := daemondirtest.Make(t, root, "last", "{}", "1")
	if err := os.Rename(last.Sidecar(), last.Sidecar()+".old"); err != nil {
		t.Fatal(err)
	}
	symlink(t, "last.daemon.json.old", last.Sidecar())
	r, err := OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for how, open := range map[string]func(string, Mode) (*File, error){"by openat2": r.OpenSidecar, "by its dir": r.openSidecarByDir} {
		for _, name := range []string{"near", "far", "last"} {
			for _, mode := range []Mode{ReadOnly, ReadWrite} {
				f, err := open(name, mode)
				if err == nil {
					f.Close()
				}
				if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNotRegular) {
					t.Errorf("%s, %s, mode %v: %v", name, how, mode, err)
				}
			}
		}
	}
}

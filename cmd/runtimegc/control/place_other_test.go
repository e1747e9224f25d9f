//go:build unix && (!linux || portable)

package control

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// The socket of a watch that was killed is replaced.
func TestSocketThatWasLeft(t *testing.T) {
	t.Setenv("TMPDIR", shortDir(t))
	root, id := newRoot(t)
	p, err := newPlace(root, id)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", p.slot(0))
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if f, err := Find(t.Context(), root); f != nil || err != nil {
		t.Errorf("found %v, %v", f, err)
	}
	serve(t, root, fakeWatch{})
	find(t, root)
}

// A directory that another user has made, or can enter, is not trusted.
func TestDirOfSomebodyElse(t *testing.T) {
	dir := shortDir(t)
	t.Setenv("TMPDIR", dir)
	root, id := newRoot(t)
	p, err := newPlace(root, id)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(p.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := newPlace(root, id); !errors.Is(err, errUntrusted) {
		t.Errorf("open to all: %v", err)
	}
	if err := errors.Join(os.Remove(p.dir), os.Symlink(t.TempDir(), p.dir)); err != nil {
		t.Fatal(err)
	}
	if _, err := Serve(root, id, fakeWatch{}); !errors.Is(err, errUntrusted) {
		t.Errorf("a symlink: %v", err)
	}
}

// Nothing is left in the file system when a server has ended.
func TestNothingIsLeft(t *testing.T) {
	t.Setenv("TMPDIR", shortDir(t))
	root, id := newRoot(t)
	serve(t, root, fakeWatch{}).Close()
	p, err := newPlace(root, id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(p.slot(0)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v", p.slot(0), err)
	}
}

// shortDir returns a directory whose path leaves room for that of a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "c")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

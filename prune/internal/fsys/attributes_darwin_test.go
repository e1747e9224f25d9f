package fsys

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// An extended attribute is kept. An access control list cannot be: then nothing is replaced.
func TestReplaceKeepsAttributes(t *testing.T) {
	const text = `{"last_seen_unix_ms":2}`
	made := daemondirtest.Make(t, t.TempDir(), "a", text, "")
	if err := unix.Setxattr(made.Sidecar(), "note", []byte("kept"), 0); err != nil {
		t.Fatal(err)
	}
	replace := func(text, tail string) error {
		d, err := daemondir.Open(made.Root, made.Name)
		if err != nil {
			return err
		}
		defer d.Close()
		f, err := d.OpenSidecar(daemondir.ReadWrite)
		if err != nil {
			return err
		}
		defer f.Close()
		return Replace(made.Sidecar(), d.ID(), f, []byte(text), []byte(tail), len(text)-len(tail))
	}
	if err := replace(text, "3}"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	if n, err := unix.Getxattr(made.Sidecar(), "note", buf); err != nil || string(buf[:n]) != "kept" {
		t.Errorf("the attribute is %q, %v", buf[:max(n, 0)], err)
	}
	if out, err := exec.Command("chmod", "+a", "everyone allow read", made.Sidecar()).CombinedOutput(); err != nil {
		t.Skipf("no access control lists: %v: %s", err, out)
	}
	if err := replace(`{"last_seen_unix_ms":3}`, "4}"); err == nil {
		t.Error("a file with an access control list was replaced")
	}
	if got := daemondirtest.ReadFile(t, made.Sidecar()); got != `{"last_seen_unix_ms":3}` {
		t.Errorf("the sidecar is %q", got)
	}
	if names, err := os.ReadDir(made.Path()); err != nil || len(names) != 1 {
		t.Errorf("left: %v, %v", names, err)
	}
}

// A locked file keeps its directory.
func TestSurveyFindsLocked(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "top", "in", "locked")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Chflags(path, unix.UF_IMMUTABLE); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = unix.Chflags(path, 0) })
	found, err := surveyTree(t, root, "top", time.Now().Add(time.Hour))
	if err != nil || !errors.Is(found.Obstacle, errImmutable) {
		t.Errorf("found %+v, %v", found, err)
	}
}

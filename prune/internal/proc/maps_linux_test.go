//go:build !portable

package proc

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir"
)

// Maps that the kernel does not give, here a pipe that nobody writes, cost a bounded time once,
// and nothing until they are given.
func TestMapsWithoutAnAnswer(t *testing.T) {
	dir := t.TempDir()
	maps := filepath.Join(dir, "maps")
	if err := unix.Mkfifo(maps, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 100 { // each of them a second would be too long for any test
		if paths, err := mappings(dir); !errors.Is(err, daemondir.ErrNoAnswer) {
			t.Fatalf("%q, %v", paths, err)
		}
	}
	// The reader that waits gets one mapping, and its end.
	f, err := os.OpenFile(maps, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus-daemon\n"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	os.Remove(maps)
	if err := os.WriteFile(maps, []byte("7f0000000000-7f0000001000 r--p 00000000 08:02 1 /data/a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for {
		paths, err := mappings(dir)
		if errors.Is(err, daemondir.ErrNoAnswer) {
			continue // the reader has not ended yet
		}
		if err != nil || len(paths) != 1 || paths[0] != "/data/a" {
			t.Errorf("%q, %v", paths, err)
		}
		return
	}
}

// Maps that cannot be read, here a directory, end with the error, at once.
func TestMapsThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "maps"), 0o700); err != nil {
		t.Fatal(err)
	}
	if paths, err := mappings(dir); !errors.Is(err, unix.EISDIR) || len(paths) > 0 {
		t.Errorf("%q, %v", paths, err)
	}
}

// Each path comes once, though a file is mapped in parts, and without its escapes.
func TestMapsArePaths(t *testing.T) {
	dir := t.TempDir()
	const maps = `00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/a
00651000-00652000 r--p 00051000 08:02 173521      /usr/bin/a
7f0000000000-7f0000001000 r--p 00000000 00:00 0
7f0000001000-7f0000002000 r--p 00000000 00:00 0           [heap]
7f0000002000-7f0000003000 r--p 00000000 08:02 1           /data/a\012b (deleted)
7f0000003000-7f0000004000 r--p 00000000 08:02 2           /last`
	if err := os.WriteFile(filepath.Join(dir, "maps"), []byte(maps), 0o600); err != nil {
		t.Fatal(err)
	}
	paths, err := mappings(dir)
	if want := []string{"/usr/bin/a", "/data/a\nb (deleted)", "/last"}; err != nil || !slices.Equal(paths, want) {
		t.Errorf("%q, %v; want %q", paths, err, want)
	}
}

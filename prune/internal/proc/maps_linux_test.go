//go:build !portable

package proc

import (
	"errors"
	"os"
	"path/filepath"
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

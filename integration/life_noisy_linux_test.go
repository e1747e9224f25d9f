package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// A mark that is made in a dir that is watched by its files raises no event: a removal looks for
// it, and the dir stays until it is gone.
func TestMarkInANoisyDir(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "runtime")
	noError(t, os.Mkdir(root, 0o755))
	s := newSpawner(t, root)
	w := startWatch(t, root, "--stale-after", "1s", "--sweep-interval", "100ms")
	d := s.spawn("a")
	w.next("daemon.live", "a")
	before := footprintOf(t, w.cmd.Process.Pid).watches
	daemondirtest.Eventually(t, "the dir is watched by its files", func() bool {
		for i := range 20 {
			noError(t, os.WriteFile(filepath.Join(s.dir("a"), fmt.Sprint(i%2, ".log")), []byte("a line\n"), 0o644))
		}
		return footprintOf(t, w.cmd.Process.Pid).watches == before+1
	})
	if _, err := daemondir.Protect(root, "a"); err != nil {
		t.Fatal(err)
	}
	if now := footprintOf(t, w.cmd.Process.Pid).watches; now != before+1 {
		t.Fatalf("the mark was noticed: %d watches, not %d", now, before+1)
	}
	d.kill()
	daemondirtest.Eventually(t, "the dir is kept for the mark", func() bool {
		return slices.ContainsFunc(w.all("daemon.kept", "a"), func(e event) bool { return e.reason == "protected" })
	})
	w.never("daemon.removed", "a")
	if _, err := daemondir.Unprotect(root, "a"); err != nil {
		t.Fatal(err)
	}
	w.next("daemon.removed", "a")
	w.stop(syscall.SIGTERM)
}

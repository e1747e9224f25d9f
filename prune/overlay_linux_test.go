package prune

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// mountOverlay mounts an overlay on a new directory and returns that, and the lower one.
func mountOverlay(t *testing.T, fill func(lower string)) (merged string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root")
	}
	base := t.TempDir()
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(base, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	fill(filepath.Join(base, "lower"))
	merged = filepath.Join(base, "merged")
	options := "redirect_dir=off,lowerdir=" + base + "/lower,upperdir=" + base + "/upper,workdir=" + base + "/work"
	if err := unix.Mount("overlay", merged, "overlay", 0, options); err != nil {
		t.Skipf("no overlay: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(merged, unix.MNT_DETACH) })
	return merged
}

// A dir that came with a container's image cannot be renamed, and stays for a reason of its
// own; one that was made in the container is removed.
func TestOverlay(t *testing.T) {
	if portable {
		t.Skip("what refuses the rename is not known there")
	}
	root := mountOverlay(t, func(lower string) { daemondirtest.MakeDead(t, lower, "image", 2*time.Hour) })
	b := newBenchIn(t, root, Options{})
	d := daemondirtest.Dir{Root: root, Name: "image"}
	b.wantKept(d, LowerLayer)
	if row := b.log.Events("daemon.kept")[0]; row["error"] == nil {
		t.Errorf("without an error: %v", row)
	}
	if _, err := os.Stat(d.PIDFile()); err != nil {
		t.Error(err)
	}
	made := daemondirtest.MakeDead(t, root, "made", 2*time.Hour)
	stats, _ := b.sweep()
	if made.Exists() || stats.Removed != 1 {
		t.Errorf("one that was made in the container: %+v", stats)
	}
}

//go:build unix

package fsys

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A directory that becomes a FIFO or a symlink at any moment is not waited for, and what the
// symlink leads to is neither surveyed nor emptied.
func TestDirectorySwappedMeanwhile(t *testing.T) {
	base := t.TempDir()
	precious := filepath.Join(base, "precious")
	swapped := filepath.Join(base, "root", "top", "in")
	dir, fifo, link := filepath.Join(base, "dir"), filepath.Join(base, "fifo"), filepath.Join(base, "link")
	for _, path := range []string{precious, filepath.Dir(swapped), dir} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	keep := filepath.Join(precious, "file")
	if err := os.WriteFile(keep, []byte("stay"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(precious, link); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			what := []string{dir, fifo, dir, link}[i%4]
			if err := os.Rename(what, swapped); err != nil {
				_ = os.Mkdir(dir, 0o755) // it was removed
				continue
			}
			_ = os.WriteFile(filepath.Join(dir, "file"), nil, 0o644)
			_ = os.Rename(swapped, what)
		}
	}()
	hung := time.AfterFunc(time.Minute, func() { panic("a survey or a removal waits") })
	defer hung.Stop()
	rounds := 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); rounds++ {
		_, _ = surveyTree(t, filepath.Join(base, "root"), "top", time.Now().Add(-time.Hour))
		var freed Freed
		tree, done := borrowTestTree(t, filepath.Join(base, "root"), "top")
		_ = tree.Empty("", &freed, nil)
		done()
		for _, lost := range []func() error{
			func() error { return unix.Mkfifo(fifo, 0o600) },
			func() error { return os.Symlink(precious, link) },
		} {
			_ = lost() // what was emptied while it stood there
		}
	}
	close(stop)
	<-stopped
	if text, err := os.ReadFile(keep); err != nil || string(text) != "stay" {
		t.Errorf("after %d rounds: %q, %v", rounds, text, err)
	}
	t.Logf("%d rounds", rounds)
}

package fsys

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What is mounted in a tree, of whatever device, is an obstacle, and is not entered when
// it comes up after the survey.
func TestMountedIsNotEntered(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root")
	}
	for _, row := range []struct{ rule, source, fstype string }{
		{"a tmpfs", "", "tmpfs"},
		{"a directory of the same device", "dir", ""},
		{"a file of the same device", "file", ""},
	} {
		t.Run(row.rule, func(t *testing.T) {
			if portable && row.source != "" {
				t.Skip("only Linux has mounts within a device")
			}
			base := t.TempDir()
			precious := filepath.Join(base, "precious")
			point := filepath.Join(base, "root", "top", "in", "point")
			for _, dir := range []string{precious, filepath.Join(precious, "dir"), filepath.Dir(point)} {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for _, file := range []string{"file", "dir/file"} {
				if err := os.WriteFile(filepath.Join(precious, file), []byte("stay"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if row.source == "file" {
				if err := os.WriteFile(point, nil, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if err := os.Mkdir(point, 0o755); err != nil {
				t.Fatal(err)
			}
			source, flags := row.fstype, uintptr(0)
			if row.source != "" {
				source, flags = filepath.Join(precious, row.source), unix.MS_BIND
			}
			if err := unix.Mount(source, point, row.fstype, flags, ""); err != nil {
				t.Skipf("no mount: %v", err)
			}
			t.Cleanup(func() { _ = unix.Unmount(point, unix.MNT_DETACH) })
			found, err := surveyTree(t, filepath.Join(base, "root"), "top", time.Now().Add(time.Hour))
			var obstacle *Obstacle
			if err != nil || !errors.As(found.Obstacle, &obstacle) || obstacle.Path != "in/point" || obstacle.Why != ErrMounted {
				t.Errorf("found %+v, %v", found, err)
			}
			var freed Freed
			if err := openTestTree(t, filepath.Join(base, "root"), "top").Empty("", &freed, nil); err == nil || freed.Files > 0 {
				t.Errorf("%d removed: %v", freed.Files, err)
			}
			for _, file := range []string{"file", "dir/file"} {
				if text, err := os.ReadFile(filepath.Join(precious, file)); err != nil || string(text) != "stay" {
					t.Errorf("%q, %v", text, err)
				}
			}
		})
	}
}

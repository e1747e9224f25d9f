//go:build unix && (!linux || portable)

package daemondir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir/daemondirtest"
)

// What is replaced between the look at it and its opening is not waited for, and not taken for
// what it was.
func TestReplacedRightBeforeOpening(t *testing.T) {
	for kind, put := range map[string]func(path string) error{
		"a FIFO":    func(path string) error { return unix.Mkfifo(path, 0o600) },
		"a symlink": func(path string) error { return os.Symlink(path+"-away", path) },
		"a copy": func(path string) error {
			text, err := os.ReadFile(path + "-away")
			if err != nil {
				return os.Mkdir(path, 0o755)
			}
			return os.WriteFile(path, text, 0o600)
		},
	} {
		for _, what := range []string{"dir", "sidecar", "sidecar for writing"} {
			t.Run(what+" by "+kind, func(t *testing.T) {
				root := t.TempDir()
				made := daemondirtest.Make(t, root, "web", written, "12")
				d, err := Open(root, "web")
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				path := made.Path()
				if what != "dir" {
					path = made.Sidecar()
				}
				opening = func() {
					opening = nil
					if err := errors.Join(os.Rename(path, path+"-away"), put(path)); err != nil {
						t.Error(err)
					}
				}
				defer func() { opening = nil }()
				done := time.AfterFunc(10*time.Second, func() { panic("it waits for " + filepath.Base(path)) })
				defer done.Stop()
				switch what {
				case "dir":
					again, err := Open(root, "web")
					if err == nil {
						again.Close()
					}
					// The one that was looked at may be opened, under whatever name.
					if err == nil && again.ID() != d.ID() || err != nil && !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("opened: %v", err)
					}
				default:
					mode := ReadOnly
					if what != "sidecar" {
						mode = ReadWrite
					}
					f, err := d.OpenSidecar(mode)
					if err == nil {
						f.Close()
						if kind != "a symlink" {
							t.Error("it was opened")
						}
					}
				}
			})
		}
	}
}

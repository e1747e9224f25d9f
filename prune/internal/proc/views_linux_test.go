//go:build !portable

package proc

import (
	"os"
	"path/filepath"
	"testing"

	"runtimegc/registry/daemondir/daemondirtest"
)

// Each table is of a process that sees /home/u/runtime of the file system 8:1 in its own
// way.
func TestViews(t *testing.T) {
	const own = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
	for name, row := range map[string]struct {
		table, root string
		finds       map[string]string // path -> what it is in the tree; "-": nothing
	}{
		"as we do": {own, "/", map[string]string{
			"/home/u/runtime":             "",
			"/home/u/runtime/x":           "x",
			"/home/u/runtime/x (deleted)": "x (deleted)",
			"/home/u/runtime/x/log":       "x/log",
			"/home/u/runtime2/x":          "-",
			"/home/u":                     "-",
			"/":                           "-",
		}},
		"by a bind mount": {own + "2 1 8:1 /home/u/runtime /data rw - ext4 /dev/sda1 rw\n", "/", map[string]string{
			"/data/x/log": "x/log", "/home/u/runtime/x": "x", "/database/x": "-",
		}},
		"what holds it is mounted elsewhere": {"2 1 8:1 /home /h\\040h rw - ext4 /dev/sda1 rw\n", "/", map[string]string{
			"/h h/u/runtime/x": "x", "/home/u/runtime/x": "-",
		}},
		"one directory of it is mounted": {"2 1 8:1 /home/u/runtime/x/sub /x rw - ext4 /dev/sda1 rw\n", "/", map[string]string{
			"/x": "x/sub", "/x/log": "x/sub/log", "/xy": "-",
		}},
		"one file of it is mounted": {"2 1 8:1 /home/u/runtime/x/log /var/log/x rw - ext4 /dev/sda1 rw\n", "/", map[string]string{
			"/var/log/x": "x/log", "/var/log/y": "-",
		}},
		"another file system is mounted over it": {own + "2 1 8:2 / /home/u rw - ext4 /dev/sda2 rw\n", "/", map[string]string{
			"/home/u/runtime/x": "-",
		}},
		"in it, another file system": {own + "2 1 8:2 / /home/u/runtime/x/mnt rw - ext4 /dev/sda2 rw\n", "/", map[string]string{
			"/home/u/runtime/x/mnt/f": "-", "/home/u/runtime/x/f": "x/f",
		}},
		"the same path on another file system": {"1 0 8:2 / / rw - ext4 /dev/sda2 rw\n", "/", map[string]string{
			"/home/u/runtime/x": "-",
		}},
		"from a chroot": {"2 1 8:1 /home/u/runtime /data rw - ext4 /dev/sda1 rw\n", "/jail", map[string]string{
			"/jail/data/x": "x", "/data/x": "-",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := tree{path: "/home/u/runtime", device: 0x801, inside: "/home/u/runtime"}
			v := tr.seen([]byte(row.table), row.root)
			for path, want := range row.finds {
				got, ok := v.find(path)
				if !ok {
					got = "-"
				}
				if got != want {
					t.Errorf("%s is %q, want %q", path, got, want)
				}
			}
		})
	}
}

// In a chroot that is no mount point the table of mounts does not say what shows the root:
// then its path counts.
func TestViewsInAChroot(t *testing.T) {
	if _, err := os.Readlink("/proc/self/ns/mnt"); err != nil {
		t.Skipf("no /proc: %v", err)
	}
	v, err := newViews(tree{path: "/srv/runtime"}).of("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	if rel, ok := v.find("/srv/runtime/x/log"); !ok || rel != "x/log" {
		t.Errorf("%q, %v, want x/log", rel, ok)
	}
	if rel, ok := v.find("/srv/other/x"); ok {
		t.Errorf("elsewhere: %q", rel)
	}
}

// What has no threads but the first, and no legible stat, is not taken for a kernel thread.
func TestLeaderlessWithoutAStat(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "task", filepath.Base(dir)), 0o755); err != nil {
		t.Fatal(err)
	}
	for stat, legible := range map[string]bool{"1 (a) Z 1 1 1 0 -1 0": true, "1 (a) Z 1 1": false, "1 (a) Z 1 1 1 0 -1 x": false} {
		daemondirtest.WriteFile(t, filepath.Join(dir, "stat"), stat)
		if threads, err := leaderless(dir); (err == nil) != legible || len(threads) > 0 {
			t.Errorf("%q: %q, %v", stat, threads, err)
		}
	}
}

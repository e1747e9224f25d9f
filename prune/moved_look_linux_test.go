package prune

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// A user is found even if what he uses, or a directory above it, has another path at the
// moment at which users are looked for.
func TestMovedDuringLookForUsers(t *testing.T) {
	if portable {
		t.Skip("only Linux tells")
	}
	for _, row := range []struct {
		rule     string
		from, to string // in the directory that the root's parent is in
		back     bool   // at once
		want     Reason
	}{
		{"the root, away and back", "parent/root", "parent/away", true, InUse},
		{"the root, to elsewhere and back", "parent/root", "away", true, InUse},
		{"the directory above it, away and back", "parent", "away", true, InUse},
		{"the dir, away and back", "parent/root/a", "away", true, InUse},
		{"the dir, to another name and back", "parent/root/a", "parent/root/b", true, InUse},
		{"the root, away", "parent/root", "away", false, Changed},
		{"the directory above it, away", "parent", "away", false, Changed},
	} {
		for _, later := range []bool{false, true} {
			rule, want := row.rule+", before the first dir", []Reason{row.want}
			if later {
				rule = row.rule + ", between two dirs"
				if filepath.Base(row.from) == "a" {
					// It does not wait for one dir for ever; a slow machine may make the wait long enough.
					want = append(want, Changed)
				}
			}
			t.Run(rule, func(t *testing.T) {
				t.Parallel()
				base := t.TempDir()
				root, from, to := filepath.Join(base, "parent/root"), filepath.Join(base, row.from), filepath.Join(base, row.to)
				d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
				workIn(t, d.Path())
				e := entryOf(t, d)
				time.Sleep(50 * time.Millisecond) // it is older than the first look
				moves := 0
				reached := func(step string) {
					var err error
					switch {
					case step == "looking for users" && moves == 0:
						moves++
						err = os.Rename(from, to)
					case step == "looked for users" && moves == 1 && row.back:
						moves++
						err = os.Rename(to, from)
					}
					if err != nil {
						t.Error(err)
					}
				}
				c := testCollector(t, root)
				if !later {
					c.reached = reached
				}
				m, err := c.newRemover(time.Hour, false)
				if err != nil {
					t.Fatal(err)
				}
				defer m.close()
				if later {
					m.reached = reached
					m.usersAt = m.usersAt.Add(-time.Hour)
				}
				if r := m.remove(e); !slices.Contains(want, r.kept) || r.err != nil {
					t.Errorf("kept because %q: %v", r.kept, r.err)
				}
				if moves == 0 {
					t.Error("nothing was moved")
				}
			})
		}
	}
}

// A dir that had another name when users were looked for, and has that of an unused one now.
func TestExchangedAfterLookForUsers(t *testing.T) {
	if portable {
		t.Skip("only Linux tells")
	}
	root := t.TempDir()
	used := daemondirtest.MakeDead(t, root, "used", 2*time.Hour)
	unused := daemondirtest.MakeDead(t, root, "unused", 2*time.Hour)
	workIn(t, used.Path())
	daemondirtest.WriteFile(t, filepath.Join(used.Path(), "unused.daemon.json"), daemondirtest.ReadFile(t, used.Sidecar()))
	daemondirtest.MakeOld(t, used.Path(), 2*time.Hour)
	time.Sleep(50 * time.Millisecond)
	m := newTestRemover(t, root, false)
	if err := unix.Renameat2(unix.AT_FDCWD, used.Path(), unix.AT_FDCWD, unused.Path(), unix.RENAME_EXCHANGE); err != nil {
		t.Skipf("no exchange of names: %v", err)
	}
	if r := m.remove(entryOf(t, unused)); r.kept != InUse || !unused.Exists() {
		t.Errorf("kept because %q: %v", r.kept, r.err)
	}
}

// workIn has a process work in the directory until the test ends.
func workIn(t *testing.T, path string) {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.Dir = path
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

// With few processes, as in a container, a look takes less than a tick of the clock by which
// directories are stamped. Then a root that was moved once is not taken for one that is moved
// each time.
func TestMovedDuringAShortLook(t *testing.T) {
	if portable {
		t.Skip("only Linux tells")
	}
	root := filepath.Join(t.TempDir(), "root")
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	m := newTestRemover(t, root, false)
	few := t.TempDir() // with no process at all
	if err := os.Symlink("/proc/self", filepath.Join(few, "self")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOST_PROC", few)
	moves := 0
	m.reached = func(step string) {
		if step != "looking for users" || moves > 0 {
			return
		}
		moves++
		if err := os.Rename(root, root+"-away"); err != nil {
			t.Error(err)
		}
		if err := os.Rename(root+"-away", root); err != nil {
			t.Error(err)
		}
	}
	if err := m.findUsers(); err != nil || moves != 1 || !d.Exists() {
		t.Errorf("moved %d times: %v", moves, err)
	}
}

package integration

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A root that may not be read is no empty root: an answer that looks like "nothing to
// do" would hide the mistake for ever.
func TestUnreadableRoot(t *testing.T) {
	t.Parallel()
	notUnderRace(t)
	for name, mode := range map[string]os.FileMode{"no right at all": 0, "not to be listed": 0o300, "not to be searched": 0o600} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := runtimeRoot(t)
			s := newSpawner(t, root)
			s.dead("due", stale)
			attr := ordinaryUser(t, root)
			before := snapshot(t, root)
			noError(t, os.Chmod(root, mode))
			for _, args := range [][]string{{"watch"}, {"prune"}, {"prune", "--json", "--dry-run"}, {"list", "--json"}, {"list"}} {
				o := runAs(t, attr, append(args, "--root", root)...)
				if o.code != 1 || o.stdout != "" {
					t.Errorf("%q: exit code %d, want 1; stdout %q", args, o.code, o.stdout)
				}
				if !strings.Contains(o.stderr, root) || !strings.Contains(o.stderr, "permission denied") {
					t.Errorf("%q does not name root and reason: %s", args, o.stderr)
				}
			}
			noError(t, os.Chmod(root, 0o755))
			before.mustEqual(t, snapshot(t, root))
		})
	}
}

// A root may be given by a symlink; what is in it is served all the same.
func TestRootBehindASymlink(t *testing.T) {
	t.Parallel()
	real := runtimeRoot(t)
	link := filepath.Join(t.TempDir(), "link")
	noError(t, os.Symlink(real, link))
	s := newSpawner(t, link)
	s.dead("due", stale)
	s.dead("in-use", stale)
	bystander(t, filepath.Join(real, "in-use"))
	w := startWatch(t, link, "--stale-after", "1500ms", "--sweep-interval", "100ms")
	w.next("daemon.removed", "due")
	if e := w.next("daemon.kept", "in-use"); e.reason != "in_use" {
		t.Errorf("want reason in_use: %s", e.line)
	}
	d := s.spawn("live")
	w.next("daemon.live", "live")
	w.next("sidecar.refreshed", "live")
	d.kill()
	w.next("daemon.exited", "live")
	w.next("daemon.removed", "live")
	w.stop(syscall.SIGTERM)
	w.never("daemon.gone", "")
}

// A path that only comes to lead to a root that nobody may serve, while it is being
// watched, is refused like one that always did.
func TestRootComesToBeRefused(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "runtime")
	w := startWatch(t, link, "--sweep-interval", "50ms", "--dry-run")
	w.next("root.missing", "")
	noError(t, os.Symlink("/", link))
	w.sweeps(3)
	noError(t, os.Remove(link))
	noError(t, os.Mkdir(link, 0o755))
	w.next("root.found", "")
	w.stop(syscall.SIGTERM)
	if n := len(w.all("root.found", "")); n != 1 {
		t.Errorf("root.found was said %d times: the root of the file system was served", n)
	}
}

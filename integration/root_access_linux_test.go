package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A root that may not be read is no empty root: an answer that looks like "nothing to
// do" would hide the mistake for ever.
func TestUnreadableRoot(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]os.FileMode{"no right at all": 0, "not to be listed": 0o300, "not to be searched": 0o600} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := runtimeRoot(t)
			s := newSpawner(t, root)
			s.dead("due", stale)
			attr := ordinaryUser(t, root)
			before := snapshot(t, root)
			if err := os.Chmod(root, mode); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"watch"}, {"prune"}, {"prune", "--json", "--dry-run"}, {"list", "--json"}, {"list"}} {
				o := runAs(t, attr, append(args, "--root", root)...)
				if o.code != 1 || o.stdout != "" {
					t.Errorf("%q: exit code %d, want 1; stdout %q", args, o.code, o.stdout)
				}
				if !strings.Contains(o.stderr, root) || !strings.Contains(o.stderr, "permission denied") {
					t.Errorf("%q does not name root and reason: %s", args, o.stderr)
				}
			}
			if err := os.Chmod(root, 0o755); err != nil {
				t.Fatal(err)
			}
			before.mustEqual(t, snapshot(t, root))
		})
	}
}

// A home directory must not be served by way of a symlink either, nor one that holds
// it: a stale sidecar in there would cost its user everything.
func TestRefusedRoots(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	home := filepath.Join(dir, "home", "user")
	if err := os.MkdirAll(home, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(home, link); err != nil {
		t.Fatal(err)
	}
	t.Run("home", func(t *testing.T) {
		before := snapshot(t, dir)
		for _, root := range []string{home, filepath.Dir(home), link, home + "/.", link + "/"} {
			for _, command := range []string{"watch", "prune", "list"} {
				o := runWith(t, func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), "HOME="+home) }, command, "--root", root)
				if o.code != 1 || o.stdout != "" || !strings.Contains(o.stderr, filepath.Clean(root)) {
					t.Errorf("%s --root %s: exit code %d, want 1; stderr %s", command, root, o.code, o.stderr)
				}
			}
		}
		before.mustEqual(t, snapshot(t, dir))
	})
	t.Run("temp through a symlink", func(t *testing.T) {
		link := filepath.Join(dir, "temp")
		if err := os.Symlink("/tmp", link); err != nil {
			t.Fatal(err)
		}
		if o := run(t, "prune", "--root", link); o.code != 1 || !strings.Contains(o.stderr, link) {
			t.Errorf("exit code %d, want 1; stderr %s", o.code, o.stderr)
		}
	})
}

// A root may be given by a symlink; what is in it is served all the same.
func TestRootBehindASymlink(t *testing.T) {
	t.Parallel()
	real := runtimeRoot(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
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

// Roots that would cost somebody everything are refused by each command, with the
// reason, and stay so when a path only comes to lead to one while it is being watched.
func TestRefusedRootsAndWhy(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "homes", "user")
	s := newSpawner(t, home)
	if err := os.MkdirAll(home, 0o755); err != nil {
		t.Fatal(err)
	}
	s.dead("due", stale)
	temp := t.TempDir()
	before := snapshot(t, home)
	for root, why := range map[string]string{
		"/": "root of a file system", "//": "root of a file system", "/proc/self/root": "root of a file system",
		home: "home directory", filepath.Dir(home): "home directory", filepath.Dir(filepath.Dir(home)): "home directory",
		"/tmp": "temporary files", "/tmp/.": "temporary files", "/var/tmp": "temporary files", temp: "temporary files",
	} {
		for _, command := range []string{"watch", "prune", "list"} {
			o := runWith(t, func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), "HOME="+home, "TMPDIR="+temp) },
				// Should it not be refused, nothing there is old enough.
				command, "--root", root, "--stale-after", "1000000h")
			if o.code != 1 || o.stdout != "" || !strings.Contains(o.stderr, why) || !strings.Contains(o.stderr, "refused") {
				t.Errorf("%s --root %s: exit code %d, want 1 and %q; stderr %s", command, root, o.code, why, o.stderr)
			}
		}
	}
	before.mustEqual(t, snapshot(t, home))

	// The path leads nowhere, then to the file system's root, which nobody may serve.
	link := filepath.Join(temp, "runtime")
	w := startWatch(t, link, "--sweep-interval", "50ms", "--dry-run")
	w.next("root.missing", "")
	if err := os.Symlink("/", link); err != nil {
		t.Fatal(err)
	}
	w.sweeps(3)
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(link, 0o755); err != nil {
		t.Fatal(err)
	}
	w.next("root.found", "")
	w.stop(syscall.SIGTERM)
	if n := len(w.all("root.found", "")); n != 1 {
		t.Errorf("root.found was said %d times: the root of the file system was served", n)
	}
}

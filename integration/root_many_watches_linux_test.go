package integration

// Several who would serve one root, and roots that nobody may serve.

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// One root, many who would serve it, started at the same moment and waiting for it to
// be made: one does, all others say who and end, and when that one is killed the next
// comes in at once.
func TestManyWatchesWaitForOneRoot(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "later", "runtime")
	var all []*watchProcess
	for range 3 {
		w := startWatch(t, root, "--sweep-interval", "100ms")
		w.next("root.missing", "")
		all = append(all, w)
	}
	// As root.missing is said when the watches above it stand; made in one go.
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	s := newSpawner(t, root)
	s.leave("due", sidecarText(t, ago(stale), time.Time{}), "")
	var holder *watchProcess
	eventually(t, "all but one have ended", func() bool {
		holder = nil
		running := 0
		for _, w := range all {
			select {
			case <-w.done:
			default:
				running++
				holder = w
			}
		}
		return running == 1
	})
	holder.next("daemon.removed", "due")
	named := regexp.MustCompile(`\bpid ` + strconv.Itoa(holder.cmd.Process.Pid) + `\b`)
	for _, w := range all {
		if w == holder {
			continue
		}
		if code := w.cmd.ProcessState.ExitCode(); code != 1 {
			t.Errorf("exit code %d, want 1", code)
		}
		lines := w.all("", "")
		if last := lines[len(lines)-1].line; !named.MatchString(last) || !strings.Contains(last, root) {
			t.Errorf("the last word is not that %v holds %s: %s", named, root, last)
		}
		w.never("daemon.removed", "")
		w.faults = nil // the last word is no JSON
	}
	if o := run(t, "prune", "--root", root); o.code != 1 || !named.MatchString(o.stderr) {
		t.Errorf("prune: exit code %d, want 1; stderr %s", o.code, o.stderr)
	}
	d := s.spawn("live")
	holder.next("daemon.live", "live")
	if err := holder.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-holder.done
	next := startWatch(t, root)
	next.next("daemon.live", "live")
	next.stop(syscall.SIGTERM)
	if err := d.complete(); err != nil {
		t.Error(err)
	}
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

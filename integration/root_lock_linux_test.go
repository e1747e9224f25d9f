package integration

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Two collectors in one root would race with each other. The second one must say who
// is first, so that its user knows what to look at; whoever only looks is let in.
func TestOneCollectorPerRoot(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("due", stale)
	// For this one it is not due yet.
	w := startWatch(t, root, "--stale-after", "20h")
	w.next("daemon.added", "due")
	w.next("sweep.done", "")
	before := snapshot(t, root)

	holder := regexp.MustCompile(`\bpid ` + strconv.Itoa(w.cmd.Process.Pid) + `\b`)
	for _, args := range [][]string{{"watch"}, {"prune"}, {"prune", "--json"}} {
		o := run(t, append(args, "--root", root)...)
		if o.code != 1 || o.stdout != "" {
			t.Errorf("%q: exit code %d, want 1; stdout %q", args, o.code, o.stdout)
		}
		lines := strings.Split(strings.TrimSpace(o.stderr), "\n")
		if last := lines[len(lines)-1]; !holder.MatchString(last) || !strings.Contains(last, root) {
			t.Errorf("%q does not say that %v holds %s: %s", args, holder, root, o.stderr)
		}
	}
	for _, args := range [][]string{{"list"}, {"list", "--json"}, {"prune", "--dry-run"}} {
		o := run(t, append(args, "--root", root)...).must(t)
		if !strings.Contains(o.stdout, "due") {
			t.Errorf("%q does not show the daemon: %s", args, o.stdout)
		}
	}
	before.mustEqual(t, snapshot(t, root))
	w.stop(syscall.SIGTERM)

	// No file was left behind, and the lock went with its holder.
	before.mustEqual(t, snapshot(t, root))
	run(t, "prune", "--root", root).must(t)
	if _, err := os.Lstat(s.dir("due")); !os.IsNotExist(err) {
		t.Errorf("the dir that was due: %v", err)
	}
}

// A collector that was killed holds nothing.
func TestKilledCollectorHoldsNothing(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	w := startWatch(t, root)
	w.next("root.found", "")
	w.next("sweep.done", "")
	if err := w.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-w.done
	run(t, "prune", "--root", root).must(t)
}

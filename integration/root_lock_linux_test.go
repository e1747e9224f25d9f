package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
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
	o := run(t, "watch", "--root", root)
	lines := strings.Split(strings.TrimSpace(o.stderr), "\n")
	if last := lines[len(lines)-1]; o.code != 1 || !holder.MatchString(last) || !strings.Contains(last, root) {
		t.Errorf("a second watch: exit code %d; it does not say that %v holds %s: %s", o.code, holder, root, o.stderr)
	}
	// prune has the one collector make the pass, by its rules.
	if o := run(t, "prune", "--root", root).must(t); !strings.HasPrefix(o.stdout, "1 scanned, 0 removed") {
		t.Errorf("prune: %s", o.stdout)
	}
	for _, args := range [][]string{{"list"}, {"list", "--json"}, {"prune", "--dry-run", "due"}} {
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
	noError(t, w.cmd.Process.Kill())
	<-w.done
	run(t, "prune", "--root", root).must(t)
}

// One root, many who would serve it, started at the same moment and waiting for it to
// be made: one does, all others say who, and wait. When that one is killed, one of them does.
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
	noError(t, os.MkdirAll(root, 0o755))
	s := newSpawner(t, root)
	s.leave("due", daemondirtest.Sidecar(ago(stale), time.Time{}), "")
	var holder *watchProcess
	daemondirtest.Eventually(t, "one to serve it", func() bool {
		for i, w := range all {
			if len(w.all("root.found", "")) > 0 {
				holder = w
				all = slices.Delete(all, i, i+1)
				return true
			}
		}
		return false
	})
	holder.next("daemon.removed", "due")
	named := regexp.MustCompile(`\bpid ` + strconv.Itoa(holder.cmd.Process.Pid) + `\b`)
	for _, w := range all {
		if e := w.next("root.locked", ""); !named.MatchString(e.line) || !strings.Contains(e.line, root) {
			t.Errorf("it does not say that %v holds %s: %s", named, root, e.line)
		}
		w.never("daemon.added", "")
	}
	if o := run(t, "list", "--root", root).must(t); !named.MatchString(o.stdout) {
		t.Errorf("list does not say that %v holds it: %s", named, o.stdout)
	}
	d := s.spawn("live")
	holder.next("daemon.live", "live")
	noError(t, holder.cmd.Process.Kill())
	<-holder.done
	daemondirtest.Eventually(t, "one of the others to serve it", func() bool {
		n := 0
		for _, w := range all {
			n += len(w.all("daemon.live", "live"))
		}
		return n == 1
	})
	for _, w := range all {
		w.stop(syscall.SIGTERM)
	}
	if err := d.complete(); err != nil {
		t.Error(err)
	}
}

package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
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
	s.leave("due", daemondirtest.Sidecar(ago(stale), time.Time{}), "")
	var holder *watchProcess
	daemondirtest.Eventually(t, "all but one have ended", func() bool {
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

package integration

// What a removal asks of the system, by strace.

import (
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// callsOfRemoval is how many system calls on a daemon dir of three files, and on what is in it,
// its removal takes. Besides there are two looks at the mount table and one at the process.
const callsOfRemoval = 46

// A watch sees its own removals as any other change. It looks whether there is a dir of that
// name by now, and neither opens nor watches what it has just removed.
func TestRemovalIsNotChased(t *testing.T) {
	t.Parallel()
	if raceEnabled || portable {
		t.Skip("this build makes other calls")
	}
	const n = 200
	root := memoryRoot(t)
	s := newSpawner(t, root)
	old := daemondirtest.Sidecar(ago(time.Hour), ago(time.Hour))
	for i := range n {
		name := fmt.Sprintf("dead%04d", i)
		s.leave(name, old, noProcess)
		trampoline := filepath.Join(root, name, name)
		daemondirtest.WriteFile(t, trampoline, "")
		noError(t, syscall.Link(trampoline, filepath.Join(filepath.Dir(root), name))) // as there are others of it
	}
	w := startWatch(t, root, "--sweep-interval", "1h", "--stale-after", "2h")
	awaitMany(t, w, "daemon.added", 0, n)
	w.next("sweep.done", "")
	// What reads the events and writes the log has the names of dirs in it, too.
	tr := trace(t, w.cmd.Process.Pid, "-y", "-e", "trace=!read,write")
	run(t, "prune", "--root", root, "--stale-after", "1m").must(t)
	lines := tr.stop()
	w.stop(syscall.SIGTERM)
	loggedTimes(t, w, n, "daemon.removed", "")

	ours := regexp.MustCompile(`\b(\.pruned-)?dead\d{4}\b`)
	byPath := regexp.MustCompile(`^(\w+)\((AT_FDCWD<[^>]*>, )?"` + regexp.QuoteMeta(root) + `/`)
	looks, opened, watched, removing := 0, 0, 0, 0
	for _, line := range lines {
		name := called.FindString(line)
		switch {
		case name == "" || !ours.MatchString(line):
		case name == "inotify_add_watch(":
			watched++
		case !byPath.MatchString(line): // the collector has the root open
			removing++
		case name == "statx(":
			looks++
		default:
			opened++
		}
	}
	each := float64(removing) / n
	t.Logf("%d removals: %.1f calls each; %d looks of the watcher", n, each, looks)
	if opened > 0 || watched > 0 {
		t.Errorf("of %d dirs that were removed, the watcher opened %d and watched %d", n, opened, watched)
	}
	if looks > 2*n {
		t.Errorf("the watcher looked %d times at %d dirs that were removed", looks, n)
	}
	if math.Abs(each-callsOfRemoval) > 0.5 { // a signal of Go's runtime may interrupt one
		t.Errorf("a removal takes %.2f system calls, want %d", each, callsOfRemoval)
	}
}

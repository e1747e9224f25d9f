package integration

// Several watches of one root that do not see each other's processes: on several hosts, or
// in several containers.

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// role returns the role that an event tells.
func (e event) role() string { s, _ := e.fields["role"].(string); return s }

// Each watch sees the daemons of the others as dead. So only one may remove, and each must
// refresh its own, which is all that keeps them. When the first is gone, the next takes over.
func TestFollower(t *testing.T) {
	t.Parallel()
	const inside, outside = true, false
	for _, test := range []struct {
		name             string
		holder, follower bool // inside of a namespace of its own
		lockFile         bool // a directory cannot be locked, as on NFS
	}{
		{"the holder is outside", outside, inside, false},
		{"the holder is inside", inside, outside, false},
		{"each has a namespace", inside, inside, false},
		{"by a lock file", inside, outside, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ownNamespace(t)
			root := runtimeRoot(t)
			s := newSpawner(t, root)
			const staleAfter = 5 * time.Second
			var by []string
			if test.lockFile {
				by = injecting(t, "flock:error=EBADF", root)
			}
			var theirs *daemon // outside
			start := func(in bool, daemon string, args ...string) *watchProcess {
				args = append(args, "--stale-after", staleAfter.String(), "--sweep-interval", "200ms")
				if in {
					return startWatchInNamespace(t, by, root, daemon, args...)
				}
				if daemon != "" {
					theirs = s.spawn(daemon)
				}
				return startWatchBy(t, by, &syscall.SysProcAttr{}, root, args...)
			}
			// The holder keeps this one, so that it is there for the follower to leave alone.
			s.dead("protected", stale)
			holder := start(test.holder, "", "--protect", "protected")
			if e := holder.all("watch.started", "")[0]; e.role() != "collector" {
				t.Errorf("want role collector: %s", e.line)
			}
			holder.next("daemon.added", "protected")
			holder.next("sweep.done", "")
			// It has scanned the root, so this is for the follower to leave alone as well.
			left := daemondir.QuarantinePrefix + "left"
			noError(t, os.Mkdir(filepath.Join(root, left), 0o755))

			follower := start(test.follower, "theirs")
			if e := follower.all("watch.started", "")[0]; e.role() != "follower" {
				t.Fatalf("want role follower: %s", e.line)
			}
			if e := follower.next("root.found", ""); e.role() != "follower" {
				t.Errorf("want role follower: %s", e.line)
			}
			follower.next("daemon.live", "theirs")
			elsewhere := newSpawner(t, runtimeRoot(t))
			noError(t, os.Rename(elsewhere.dead("due", stale).dir, s.dir("due")))
			holder.next("daemon.removed", "due")
			for began := time.Now(); time.Since(began) < staleAfter+time.Second; {
				follower.sweeps(1)
			}
			holder.sweeps(1)
			for _, name := range []string{"theirs", "protected", left} {
				if _, err := os.Stat(filepath.Join(root, name)); err != nil {
					t.Errorf("while there are both: %v", err)
				}
			}
			for _, w := range []*watchProcess{holder, follower} {
				w.never("daemon.removed", "theirs")
			}
			follower.never("daemon.removed", "")
			follower.never("daemon.kept", "")
			if test.follower == outside {
				short := s.spawn("short")
				follower.next("daemon.live", "short")
				short.kill()
				follower.next("daemon.exited", "short")
				daemondirtest.Eventually(t, "the exit to be recorded", func() bool {
					e, err := daemondir.Read(root, "short")
					return err == nil && e.LastSeen.MS >= uint64(short.killed.UnixMilli())
				})
			}
			// A single pass does not follow: the holder makes it.
			if !test.lockFile {
				run(t, "prune", "--root", root).must(t)
				holder.next("sweep.requested", "")
				if after := afterTable(t, "list", "--root", root); !strings.Contains(after, "stale after ") {
					t.Errorf("list does not name the holder: %s", after)
				}
			}

			holder.stop(syscall.SIGTERM)
			if e := follower.next("root.taken_over", ""); e.role() != "collector" {
				t.Errorf("want role collector: %s", e.line)
			}
			follower.next("daemon.removed", "protected")
			follower.next("daemon.removed", "left")
			if _, err := os.Stat(s.dir("theirs")); err != nil {
				t.Errorf("after the take-over: %v", err)
			}
			if test.follower == inside {
				follower.killInNamespace("theirs")
			} else {
				theirs.kill()
			}
			follower.next("daemon.exited", "theirs")
			follower.next("daemon.removed", "theirs")
			follower.stop(syscall.SIGTERM)
			loggedTimes(t, follower, 1, "root.taken_over", "")
		})
	}
}

// A root that is made later has its role with the line that it was found.
func TestRoleInRootThatIsMadeLater(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "later")
	w := startWatch(t, root)
	w.next("root.missing", "")
	noError(t, os.Mkdir(root, 0o755))
	if e := w.next("root.found", ""); e.role() != "collector" {
		t.Errorf("want role collector: %s", e.line)
	}
	w.stop(syscall.SIGTERM)
	if e := w.all("watch.started", "")[0]; e.has("role") {
		t.Errorf("there was no root: %s", e.line)
	}
}

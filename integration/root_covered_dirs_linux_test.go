package integration

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// Whatever is mounted over whichever dir of a daemon that does not live, after it has been
// unmounted the next daemon there is noticed.
func TestMountOverDirsOfNoDaemon(t *testing.T) {
	t.Parallel()
	if !inOwnMounts(t) {
		return
	}
	root, empty := runtimeRoot(t), t.TempDir()
	s := newSpawner(t, root)
	now := daemondirtest.Sidecar(time.Now(), time.Now())
	var names []string
	for _, kind := range []string{"dead", "invalid", "bare"} {
		for _, fs := range []string{"tmpfs", "bind"} {
			name := kind + "-" + fs
			names = append(names, name)
			switch kind {
			case "dead":
				s.leave(name, now, noProcess)
			case "invalid":
				s.leave(name, []byte("{"), noProcess)
			default:
				noError(t, os.Mkdir(s.dir(name), 0o755))
			}
		}
	}
	w := startWatch(t, root, "--sweep-interval", "100ms", "--stale-after", "1h")
	w.next("daemon.added", "dead-bind")
	for _, name := range names {
		if strings.HasSuffix(name, "-bind") {
			mount(t, empty, s.dir(name), "", unix.MS_BIND, "")
		} else {
			mount(t, "tmpfs", s.dir(name), "tmpfs", 0, "size=64k")
		}
	}
	w.sweeps(3)
	pid := strconv.Itoa(bystander(t, "/"))
	for _, name := range names {
		unmount(t, s.dir(name), false)
		s.leave(name, now, pid)
	}
	for _, name := range names {
		w.next("daemon.live", name)
	}
	w.stop(syscall.SIGTERM)
	w.never("daemon.removed", "")
}

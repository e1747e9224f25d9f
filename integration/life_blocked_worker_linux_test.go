package integration

import (
	endian "encoding/binary"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// gate holds up whoever opens a file, as a virus scanner does: fanotify(7), FAN_OPEN_PERM.
type gate struct {
	t    *testing.T
	fd   int
	gone func() // takes it away: whoever waits is let go
}

func newGate(t *testing.T, path string) gate {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("holding up an open takes root")
	}
	g := gate{t: t}
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC, unix.O_RDONLY)
	if err == nil {
		g.gone = sync.OnceFunc(func() { unix.Close(fd) })
		t.Cleanup(g.gone)
		err = unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_PERM, unix.AT_FDCWD, path)
	}
	if err != nil {
		t.Skipf("no permission events here: %v", err)
	}
	g.fd = fd
	return g
}

// wait waits until somebody opens the file, and returns how to let them.
func (g gate) wait() (open func()) {
	g.t.Helper()
	var meta [unix.FAN_EVENT_METADATA_LEN]byte
	if n, err := unix.Read(g.fd, meta[:]); err != nil || n < len(meta) {
		g.t.Fatalf("reading a permission event: %d bytes, %v", n, err)
	}
	file := int32(endian.NativeEndian.Uint32(meta[16:])) // struct fanotify_event_metadata
	return func() {
		answer := endian.NativeEndian.AppendUint32(endian.NativeEndian.AppendUint32(nil, uint32(file)), unix.FAN_ALLOW)
		if _, err := unix.Write(g.fd, answer); err != nil {
			g.t.Errorf("allowing the open: %v", err)
		}
		unix.Close(int(file))
	}
}

// While one sidecar cannot be opened, for some seconds, the births and exits of others are logged as
// soon as ever: the worker waits, the observer does not.
func TestBlockedWorkerDelaysNoNotice(t *testing.T) {
	const held = 4 * time.Second
	for rule, done := range map[string]string{"removal": "daemon.removed", "refresh": "sidecar.refreshed"} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			root := runtimeRoot(t)
			s := newSpawner(t, root)
			if rule == "removal" {
				s.dead("blocked", time.Hour-2*time.Second) // due when the gate stands
			} else {
				s.spawn("blocked")
			}
			w := startWatch(t, root, "--stale-after", "1h", "--sweep-interval", "1s", "--log-level", "debug")
			w.next("daemon.added", "blocked")
			if rule == "refresh" {
				// The watcher must not be the one that is held up: what it reads of the first refresh it
				// has read when it has told of two later births.
				w.next("sidecar.refreshed", "blocked")
				for _, name := range []string{"later", "latest"} {
					s.spawn(name)
					w.next("daemon.live", name)
				}
			}
			g := newGate(t, s.sidecar("blocked"))
			open := g.wait()
			began := time.Now()
			var born, died []time.Duration
			for n := 0; time.Since(began) < held; n++ {
				d := s.spawn(fmt.Sprint("d", n))
				born = append(born, w.next("daemon.live", d.name).arrived.Sub(d.closed))
				d.kill()
				died = append(died, w.next("daemon.exited", d.name).arrived.Sub(d.killed))
				time.Sleep(200 * time.Millisecond) // leave a processor to the other tests
			}
			before := len(w.all(done, "blocked"))
			open()
			if rule == "removal" && before > 0 {
				t.Error("the blocked dir was removed all the same")
			}
			// Each later open is an event of its own, until the gate is gone; one may be waiting already.
			g.gone()
			w.next(done, "blocked")
			w.stop(syscall.SIGTERM)
			for what, times := range map[string][]time.Duration{"births": born, "exits": died} {
				slices.Sort(times)
				median, worst := times[len(times)/2], times[len(times)-1]
				t.Logf("%d %s while the worker was blocked: median %v, worst %v", len(times), what, median, worst)
				if median > time.Second || worst >= held {
					t.Errorf("%s: median %v, worst %v", what, median, worst)
				}
			}
		})
	}
}

package prune

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// A removal that is called off after the rename puts the dir back. The watcher sees it go and
// return, but it was never gone, unless it is removed right after that.
func TestPutBackIsNotGone(t *testing.T) {
	const n = 20
	b := watched(t, Options{SweepInterval: time.Hour})
	var dirs []daemondirtest.Dir
	for i := range n {
		dirs = append(dirs, daemondirtest.MakeDead(t, b.root, fmt.Sprintf("d%02d", i), 2*time.Hour))
	}
	needLeases(t, dirs[0])
	last := dirs[n-1]
	removed := make(chan error, 1)
	b.reached = func(step string) {
		if step != "renamed" {
			return
		}
		hidden, _ := filepath.Glob(filepath.Join(b.root, daemondir.QuarantinePrefix+"*"))
		name := strings.TrimPrefix(filepath.Base(hidden[0]), daemondir.QuarantinePrefix)
		daemondirtest.Eventually(t, "the watcher has seen it go", func() bool {
			_, ok := b.reg.Get(name)
			return !ok
		})
		if _, err := daemondir.Protect(b.root, filepath.Base(hidden[0])); err != nil {
			t.Error(err)
		}
		if name == last.Name {
			go func() {
				for !last.Exists() {
				}
				removed <- os.RemoveAll(last.Path())
			}()
		}
	}
	b.start()
	daemondirtest.Eventually(t, "the sweep is over", func() bool { return b.Totals().Sweeps > 0 })
	if err := <-removed; err != nil {
		t.Error(err)
	}
	if line := b.wantEvents("daemon.gone", 1)[0]; line["daemon"] != last.Name {
		t.Errorf("logged %v", line)
	}
	daemondirtest.Eventually(t, "all others are known again", func() bool { return b.reg.Len() == n-1 })
	b.SweepNow()
	daemondirtest.Eventually(t, "another sweep", func() bool { return b.Totals().Sweeps > 1 })
	b.handled(func() {})
	b.wantEvents("daemon.added", n+1)
	b.wantEvents("daemon.kept", n) // not again, as of a dir that is new
	b.wantEvents("daemon.exited", 0)
	b.wantEvents("daemon.gone", 1)
}

// hide has the next removal, which is that of d, called off while a bare dir has its name, so that
// it stays hidden. taken is called when that dir is there.
func (b *bench) hide(d daemondirtest.Dir, taken func()) {
	b.reached = func(step string) {
		if step != "renamed" {
			return
		}
		if err := d.Mkdir(); err != nil {
			b.t.Error(err)
		}
		taken()
		if _, err := daemondir.Protect(b.root, daemondir.QuarantinePrefix+d.Name); err != nil {
			b.t.Error(err)
		}
	}
}

// A dir that was left hidden, because its name was taken when it was to be put back, is put back
// by a later sweep, and its daemon has not exited a second time. What took its name was a dir
// without a sidecar, of which nothing is said, or a daemon's.
func TestPutBackLater(t *testing.T) {
	for taker, times := range map[string]int{"bare": 0, "a daemon": 1} {
		t.Run(taker, func(t *testing.T) {
			b := watched(t, Options{SweepInterval: time.Hour})
			d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
			needLeases(t, d)
			b.hide(d, func() {
				if times > 0 {
					daemondirtest.WriteFile(t, d.Sidecar(), sidecarText(1, time.Now().UnixMilli()))
				}
			})
			b.start()
			daemondirtest.Eventually(t, "it is hidden", func() bool { return len(b.log.Events("daemon.kept")) == 1 })
			// That the name is taken is no failure, and nothing for anybody to mend.
			if line := b.log.Events("daemon.kept")[0]; line["reason"] != string(Protected) || line["error"] != nil {
				t.Errorf("logged %v", line)
			}
			daemondirtest.Eventually(t, "the other dir is known", func() bool { _, ok := b.reg.Get("a"); return ok })
			b.handled(func() {})
			b.wantEvents("daemon.added", 2) // of handled as well
			if err := os.RemoveAll(d.Path()); err != nil {
				t.Fatal(err)
			}
			daemondirtest.Eventually(t, "the other dir is gone", func() bool { _, ok := b.reg.Get("a"); return !ok })
			b.handled(func() {})
			b.SweepNow()
			daemondirtest.Eventually(t, "it is back", func() bool { _, ok := b.reg.Get("a"); return ok && d.Exists() })
			b.handled(func() {})
			b.wantEvents("daemon.exited", 0)
			b.wantEvents("daemon.gone", times)
			b.wantEvents("daemon.added", 4+times) // of handled, 3 times
		})
	}
}

// An exit that is announced while the worker has the dir in hand, to remove it, is not lost:
// here the daemon was started again since it was judged.
func TestExitDuringARemovalThatIsCalledOff(t *testing.T) {
	b := newBench(t, Options{})
	_, cmd := daemondirtest.MakeLive(t, b.root, "a")
	b.scan()
	o := b.newObserver()
	var running sync.WaitGroup
	defer running.Wait()
	o.openExits(&running)
	if o.exits == nil {
		t.Skip("no pidfds")
	}
	defer o.exits.Close()
	defer o.close()
	o.observeChanges()
	b.wantEvents("daemon.live", 1)
	o.beingRemoved = "a"
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	o.observeExit(<-o.exits.Announced())
	b.wantEvents("daemon.exited", 0)
	o.beingRemoved = ""
	o.observe("a", entryChanged)
	b.wantEvents("daemon.exited", 1)
}

// The dir of a respawn takes the place of one that a removal has hidden and does not put back. For
// who reads the log the name was there all the time; and that the hidden dir is removed in the end
// is not said of the daemon that has its name by then.
func TestHiddenBesideItsSuccessor(t *testing.T) {
	const hidden = daemondir.QuarantinePrefix + "a"
	for _, successor := range []string{"lives", "is gone"} {
		t.Run(successor, func(t *testing.T) {
			b := watched(t, Options{SweepInterval: time.Hour})
			d, first := daemondirtest.MakeLive(t, b.root, "a")
			needLeases(t, d)
			b.reached = func(step string) {
				if step == "renamed" && len(b.log.Events("daemon.kept")) == 0 {
					daemondirtest.MakeLive(t, b.root, "a")
					if _, err := daemondir.Protect(b.root, hidden); err != nil {
						t.Error(err)
					}
				}
			}
			b.start()
			b.wantEvents("daemon.live", 1)
			killed := uint64(time.Now().UnixMilli())
			_ = first.Process.Kill()
			b.wantEvents("daemon.exited", 1)
			daemondirtest.Eventually(t, "the exit is recorded, and the watcher has seen that", func() bool {
				e, _ := b.reg.Get("a")
				return e.LastSeen.MS >= killed && e == entryOf(t, d)
			})
			time.Sleep(10 * time.Millisecond) // it is stale
			b.request(Request{Names: []string{"a"}, StaleAfter: time.Millisecond}, "a keep")
			if line := b.wantEvents("daemon.live", 2)[1]; line["previous_pid"] != float64(first.Process.Pid) {
				t.Errorf("logged %v", line)
			}
			if successor == "is gone" {
				if err := os.RemoveAll(d.Path()); err != nil {
					t.Fatal(err)
				}
				b.wantEvents("daemon.gone", 1)
			}
			if _, err := daemondir.Unprotect(b.root, hidden); err != nil {
				t.Fatal(err)
			}
			b.request(Request{Names: []string{hidden}, StaleAfter: time.Millisecond}, hidden+" remove")
			line := b.wantEvents("daemon.removed", 1)[0]
			if line["daemon"] != hidden || line["dir"] != filepath.Join(b.root, hidden) || line["reason"] != string(Leftover) {
				t.Errorf("logged %v", line)
			}
			b.wantEvents("daemon.added", 1)
		})
	}
}

// A leftover has the name that it had, unless that is another daemon's, whichever was seen first.
func TestNameOfALeftover(t *testing.T) {
	const hidden = daemondir.QuarantinePrefix + "a"
	for order, want := range map[string]string{"a": "a", hidden + " a": hidden, "a " + hidden: hidden} {
		t.Run(order, func(t *testing.T) {
			b := newBench(t, Options{})
			left := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
			needLeases(t, left)
			if err := os.Rename(left.Path(), filepath.Join(b.root, hidden)); err != nil {
				t.Fatal(err)
			}
			if order != "a" {
				daemondirtest.MakeDead(t, b.root, "a", time.Minute)
				for _, name := range strings.Fields(order) {
					b.put(entryOf(t, daemondirtest.Dir{Root: b.root, Name: name}))
					b.observeChanges()
				}
			}
			b.sweep()
			if line := b.wantEvents("daemon.removed", 1)[0]; line["daemon"] != want {
				t.Errorf("logged %v, want it by %q", line, want)
			}
		})
	}
}

// aHiddenDir returns a bench with the dir .pruned-a, which a removal has left hidden, and the dir a
// that had its name meanwhile.
func aHiddenDir(t *testing.T) (b *bench, hidden string, taker daemondirtest.Dir) {
	t.Helper()
	b = newBench(t, Options{})
	d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	needLeases(t, d)
	b.hide(d, func() {})
	b.sweep()
	b.wantEvents("daemon.kept", 1)
	return b, b.path(".pruned-a"), d
}

// A hidden dir that another process removes is gone, by the name that it had. The next sweep says so.
func TestHiddenIsRemovedByAnother(t *testing.T) {
	b, hidden, _ := aHiddenDir(t)
	if err := os.RemoveAll(hidden); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b.sweep()
		if line := b.wantEvents("daemon.gone", 1)[0]; line["daemon"] != "a" {
			t.Errorf("logged %v", line)
		}
	}
}

// While the registry does not have a dir that was put back, it is awaited; and what cannot be looked
// at is not gone.
func TestReturningIsAwaited(t *testing.T) {
	t.Parallel()
	b := newBench(t, Options{})
	daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	b.awaitReturn("a")
	for range 2 {
		select {
		case <-b.recheck.C:
		case <-time.After(time.Minute):
			t.Fatal("it is not looked for")
		}
		b.checkReturned()
	}
	if err := os.RemoveAll(b.root); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(b.root, b.root); err != nil {
		t.Fatal(err)
	}
	b.checkReturned()
	if _, awaited := b.returning["a"]; !awaited {
		t.Error("it is not awaited any more")
	}
}

// A dir that returns as it was is judged again, although the registry has never shown it otherwise.
func TestReturnsAsItWas(t *testing.T) {
	b, _, taker := aHiddenDir(t)
	if err := os.Remove(taker.Path()); err != nil {
		t.Fatal(err)
	}
	b.pass(t.Context(), func(Row) {}) // without a scan
	b.checkReturned()
	b.wantDaemons(map[State]int{Dead: 1})
}

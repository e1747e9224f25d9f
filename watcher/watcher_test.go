package watcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"runtimegc/registry"
	"runtimegc/registry/daemondir/daemondirtest"
)

func TestNewRefuses(t *testing.T) {
	tests := []struct {
		rule string
		opts Options
	}{
		{"no root", Options{Registry: registry.New()}},
		{"no registry", Options{Root: "runtime"}},
		{"a negative poll interval", Options{Root: "runtime", Registry: registry.New(), PollInterval: -1}},
		{"a negative check interval", Options{Root: "runtime", Registry: registry.New(), CheckInterval: -1}},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			if _, err := New(test.opts); err == nil {
				t.Error("accepted")
			}
		})
	}
}

// The zero intervals are the ones that are documented, not tickers that panic.
func TestNewDefaults(t *testing.T) {
	w, err := New(Options{Root: "runtime", Registry: registry.New()})
	if err != nil {
		t.Fatal(err)
	}
	if w.opts.PollInterval != DefaultPollInterval || w.opts.CheckInterval != DefaultCheckInterval {
		t.Errorf("intervals %v and %v", w.opts.PollInterval, w.opts.CheckInterval)
	}
	if !filepath.IsAbs(w.root) {
		t.Errorf("root %q depends on the working directory", w.root)
	}
}

// A root that can never be served is the user's mistake, to be told at once.
func TestRunRefusesRoot(t *testing.T) {
	file := filepath.Join(t.TempDir(), "runtime")
	write(t, file, "")
	shut := newRoot(t)
	if err := os.Chmod(shut, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(shut, 0o755) })
	tests := []struct {
		rule, root string
		asRoot     bool // holds for the superuser, too
	}{
		{"a file", file, true},
		{"what is below a file", filepath.Join(file, "runtime"), true},
		{"the root of the file system", string(filepath.Separator), true},
		{"the directory for temporary files", os.TempDir(), true},
		{"a directory that may not be read", shut, false},
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			if !test.asRoot && os.Geteuid() <= 0 {
				t.Skip("the superuser may read anything; there is no such mode on Windows")
			}
			w := prepare(t, Options{Root: test.root})
			if err := w.Run(t.Context()); err == nil {
				t.Error("served")
			}
		})
	}
}

// A signal ends the program by the context; that is no failure.
func TestRunEndsWithContext(t *testing.T) {
	for rule, root := range map[string]string{
		"a root that exists":       newRoot(t),
		"a root that is not there": filepath.Join(t.TempDir(), "no", "runtime"),
	} {
		t.Run(rule, func(t *testing.T) {
			w := start(t, Options{Root: root})
			daemondirtest.Eventually(t, "a session", func() bool { return w.history() != "" })
			w.stop()
		})
		t.Run(rule+", cancelled before", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := prepare(t, Options{Root: root}).Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// testLock counts how often it is held. Like the real one it keeps the root open.
type testLock struct{ taken, held atomic.Int32 }

func (l *testLock) lock(root string) (func(), error) {
	dir, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	l.taken.Add(1)
	l.held.Add(1)
	return func() {
		l.held.Add(-1)
		dir.Close()
	}, nil
}

// The lock is held exactly while a root is served: a root that has come back is
// another one, and a root that is gone is nobody's.
func TestLock(t *testing.T) {
	root := newRoot(t)
	var lock testLock
	w := start(t, Options{Root: root, Lock: lock.lock})
	w.waitFor("root.found", 1)
	daemondirtest.Eventually(t, "the lock to be held", func() bool { return lock.held.Load() == 1 })

	removeAll(t, root)
	w.waitFor("root.lost", 1)
	daemondirtest.Eventually(t, "the lock to be released", func() bool { return lock.held.Load() == 0 })

	mkdir(t, root)
	w.waitFor("root.found", 2)
	daemondirtest.Eventually(t, "the lock to be held again", func() bool { return lock.held.Load() == 1 })

	w.stop()
	if held, taken := lock.held.Load(), lock.taken.Load(); held != 0 || taken != 2 {
		t.Errorf("held %d times at the end, taken %d times, want 0 and 2", held, taken)
	}
}

// Between two sessions of one and the same root nobody else may get in.
func TestLockIsKeptThroughOverflow(t *testing.T) {
	root := newRoot(t)
	var lock testLock
	w := startSessions(t, Options{Root: root, Lock: lock.lock})
	w.waitFor("root.found", 1)
	for n := 1; n <= 3; n++ {
		w.overflow()
		w.waitFor("registry.resynced", n)
	}
	if taken := lock.taken.Load(); taken != 1 {
		t.Errorf("taken %d times", taken)
	}
	if got := w.history(); got != "root.found" {
		t.Errorf("logged %s", got)
	}
}

// A root that somebody else collects must be left alone.
func TestLockErrorEndsRun(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	locked := errors.New("somebody else has it")
	w := prepare(t, Options{Root: root, Lock: func(string) (func(), error) { return nil, locked }})
	if err := w.Run(t.Context()); !errors.Is(err, locked) {
		t.Errorf("error %v, want %v", err, locked)
	}
	if w.reg.Len() > 0 {
		t.Error("the root was read all the same")
	}
}

// A root that is removed between the look and the lock is a lost root, no reason to
// give up.
func TestLockOfRootThatIsGone(t *testing.T) {
	root := newRoot(t)
	var lock testLock
	w := start(t, Options{Root: root, Lock: func(root string) (func(), error) {
		if lock.taken.Load() == 0 {
			lock.taken.Add(1)
			if err := os.Remove(root); err != nil {
				return nil, err
			}
		}
		return lock.lock(root)
	}})
	w.waitFor("root.lost", 1)
	spawn(t, mkdir(t, root), "a", 1)
	w.waitPID("a", 1)
	w.checkWatched()
}

// The first sweep waits for the first scan; each root that is found has one.
func TestScanned(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	var scans, known atomic.Int32
	var w *running
	w = prepare(t, Options{Root: root, Lock: (&testLock{}).lock, Scanned: func() {
		known.Store(int32(w.reg.Len()))
		scans.Add(1)
	}})
	w.run(w.Run)
	daemondirtest.Eventually(t, "the first scan", func() bool { return scans.Load() == 1 })
	if known.Load() != 1 {
		t.Error("called before the scan was complete")
	}
	w.checkWatched()
	removeAll(t, root)
	w.waitFor("root.lost", 1)
	spawn(t, mkdir(t, root), "b", 1)
	w.waitPID("b", 1)
	daemondirtest.Eventually(t, "the second scan", func() bool { return scans.Load() >= 2 })
	w.checkWatched()
	w.stop()
	// Re-making a root is two events at most: its own and none of ours.
	if n := scans.Load(); n > 3 {
		t.Errorf("%d scans of two roots", n)
	}
}

// Whoever starts after us may rely on what the registry says: a root that is there was
// read, one that is not is waited for.
func TestReady(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	for rule, dir := range map[string]string{"a root": root, "no root": root + "-none"} {
		t.Run(rule, func(t *testing.T) {
			known := make(chan int, 1)
			var w *running
			w = prepare(t, Options{Root: dir, Ready: func() { known <- w.reg.Len() }})
			w.run(w.Run)
			select {
			case n := <-known:
				if want := map[string]int{"a root": 1, "no root": 0}[rule]; n != want {
					t.Errorf("%d dirs were known, want %d", n, want)
				}
			case <-time.After(patience):
				t.Error("never ready")
			}
		})
	}
}

// A ping is answered while there is nothing to do, and in the midst of a scan; not
// while the watcher is stuck.
func TestPing(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	ping := make(chan struct{})
	stuck, free := make(chan struct{}), make(chan struct{})
	w := start(t, Options{Root: root, Ping: ping, Scanned: func() {
		close(stuck)
		<-free
	}})
	answered := func(within time.Duration) bool {
		select {
		case ping <- struct{}{}:
			return true
		case <-time.After(within):
			return false
		}
	}
	// The scan answers the pings that come before Scanned.
	for waiting := true; waiting; {
		select {
		case ping <- struct{}{}:
		case <-stuck:
			waiting = false
		case <-time.After(patience):
			t.Fatal("neither scanned nor answered")
		}
	}
	if answered(50 * time.Millisecond) {
		t.Error("answered while it was stuck")
	}
	close(free)
	for range 3 {
		if !answered(patience) {
			t.Error("not answered while there was nothing to do")
		}
	}
	w.checkWatched()
}

// While many dirs are read a watchdog must not think that we are stuck.
func TestPingDuringWork(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	ping := make(chan struct{})
	w := prepare(t, Options{Root: root, Ping: ping})
	s := w.newSession()
	defer s.end()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		for range 10 {
			ping <- struct{}{}
		}
	}()
	daemondirtest.Eventually(t, "10 pings are answered", func() bool {
		s.hints.names.Add("a")
		s.work(t.Context())
		select {
		case <-answered:
			return true
		default:
			return false
		}
	})
}

// Whoever wants to give us more room while there is much to read is told of the
// beginning and the end of it, once each.
func TestBusy(t *testing.T) {
	root := newRoot(t)
	for i := range 2 * burst {
		spawn(t, root, fmt.Sprintf("d%d", i), 1)
	}
	var said []bool
	w := prepare(t, Options{Root: root, Busy: func(on bool) { said = append(said, on) }})
	s := w.newSession()
	defer s.end()
	want := func(when string, want ...bool) {
		t.Helper()
		if !slices.Equal(said, want) {
			t.Errorf("%s: said %v, want %v", when, said, want)
		}
		said = nil
	}
	s.hints.names.Add("d0")
	s.work(t.Context())
	want("one hint")
	for i := range 2 * burst {
		s.hints.names.Add(fmt.Sprintf("d%d", i))
	}
	s.work(t.Context())
	want("a burst", true, false)
	for i := range 2 * burst {
		s.hints.names.Add(fmt.Sprintf("d%d", i))
	}
	s.busy(true)
	s.scan(t.Context())
	s.busy(false)
	want("a burst amid a scan", true, false)
}

package watcher

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

func TestNewRefuses(t *testing.T) {
	tests := []struct {
		rule string
		opts Options
	}{
		{"no root", Options{Registry: registry.New("")}},
		{"no registry", Options{}},
		{"a negative poll interval", Options{Registry: registry.New("runtime"), PollInterval: -1}},
		{"a negative check interval", Options{Registry: registry.New("runtime"), CheckInterval: -1}},
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
	w, err := New(Options{Registry: registry.New("runtime")})
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
	daemondirtest.WriteFile(t, file, "")
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
			w := prepare(t, setup{Root: test.root})
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
			w := start(t, setup{Root: root})
			daemondirtest.Eventually(t, "a session", func() bool { return w.history() != "" })
			w.stop()
		})
		t.Run(rule+", cancelled before", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := prepare(t, setup{Root: root}).Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// testLock counts how often it is held. Like the real one it keeps the root open where that
// does not stand in the way of its removal.
type testLock struct{ taken, held atomic.Int32 }

func (l *testLock) lock(root string) (string, func(), error) {
	dir, err := os.Open(root)
	if err != nil {
		return "", nil, err
	}
	if runtime.GOOS == "windows" {
		dir.Close()
	}
	l.taken.Add(1)
	l.held.Add(1)
	return "holder", func() {
		l.held.Add(-1)
		dir.Close()
	}, nil
}

// The lock is held exactly while a root is served: a root that has come back is
// another one, and a root that is gone is nobody's.
func TestLock(t *testing.T) {
	root := newRoot(t)
	var lock testLock
	w := start(t, setup{Root: root, Lock: lock.lock})
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
	w := start(t, setup{Root: root, Lock: lock.lock})
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
	w := prepare(t, setup{Root: root, Lock: func(string) (string, func(), error) { return "", nil, locked }})
	if err := w.RunLocked(t.Context(), w.lock); !errors.Is(err, locked) {
		t.Errorf("error %v, want %v", err, locked)
	}
	if w.registry.Len() > 0 {
		t.Error("the root was read all the same")
	}
}

// A root that is removed between the look and the lock is missing, which is no reason to
// give up.
func TestLockOfRootThatIsGone(t *testing.T) {
	root := newRoot(t)
	var lock testLock
	w := start(t, setup{Root: root, Lock: func(root string) (string, func(), error) {
		if lock.taken.Load() == 0 {
			lock.taken.Add(1)
			if err := os.Remove(root); err != nil {
				return "", nil, err
			}
		}
		return lock.lock(root)
	}})
	w.waitFor("root.missing", 1)
	spawn(t, mkdir(t, root), "a", 1)
	w.waitPID("a", 1)
	w.checkWatched()
}

// Followers hear when the registry equals the root: once for each root that is found.
func TestSynced(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	w := start(t, setup{Root: root, Lock: (&testLock{}).lock})
	synced := func(what string) {
		t.Helper()
		select {
		case <-w.changes.Synced():
		case <-time.After(patience):
			t.Fatalf("never heard of %s", what)
		}
	}
	synced("the first scan")
	if w.registry.Len() != 1 {
		t.Error("synced before the scan was complete")
	}
	w.checkWatched()
	w.overflow()
	w.waitFor("registry.resynced", 1)
	w.checkWatched()
	select {
	case <-w.changes.Synced():
		t.Error("a resync makes a sweep")
	default:
	}
	removeAll(t, root)
	w.waitFor("root.lost", 1)
	spawn(t, mkdir(t, root), "b", 1)
	synced("the second scan")
	w.waitPID("b", 1)
	w.checkWatched()
}

// Whoever starts after us may rely on what the registry says: a root that is there was
// read, one that is not is waited for.
func TestReady(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	for rule, dir := range map[string]string{"a root": root, "no root": root + "-none"} {
		t.Run(rule, func(t *testing.T) {
			w := start(t, setup{Root: dir})
			select {
			case <-w.Ready():
			case <-time.After(patience):
				t.Fatal("never ready")
			}
			if want := map[string]int{"a root": 1, "no root": 0}[rule]; w.registry.Len() != want {
				t.Errorf("%d dirs were known, want %d", w.registry.Len(), want)
			}
		})
	}
}

// pinged says whether a ping is answered in time.
func (w *running) pinged(within time.Duration) bool {
	ctx, cancel := context.WithTimeout(w.t.Context(), within)
	defer cancel()
	return w.Ping(ctx) == nil
}

// A ping is answered while there is nothing to do; not while the watcher is stuck, and
// not after it has ended.
func TestPing(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	stuck, free := make(chan struct{}), make(chan struct{})
	w := start(t, setup{Root: root, Lock: func(string) (string, func(), error) {
		close(stuck)
		<-free
		return "", func() {}, nil
	}})
	<-stuck
	if w.pinged(50 * time.Millisecond) {
		t.Error("answered while it was stuck")
	}
	close(free)
	for range 3 {
		if !w.pinged(patience) {
			t.Error("not answered while there was nothing to do")
		}
	}
	w.checkWatched()
	w.stop()
	if w.pinged(20 * time.Millisecond) {
		t.Error("answered after its end")
	}
}

// While many dirs are read a watchdog must not think that we are stuck.
func TestPingDuringWork(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	w := prepare(t, setup{Root: root})
	s := w.newSession()
	defer s.end()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		for range 10 {
			w.pinged(patience)
		}
	}()
	daemondirtest.Eventually(t, "10 pings are answered", func() bool {
		s.pending.names.Add("a", time.Time{})
		s.readPending(t.Context())
		select {
		case <-answered:
			return true
		default:
			return false
		}
	})
}

// Two watchers of one registry would delete each other's entries; a watcher that ran has
// nothing left to run with.
func TestOneWatcherOfARegistry(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	w := start(t, setup{Root: root})
	w.waitPID("a", 1)
	other, err := New(Options{Registry: w.registry})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Run(t.Context()); !errors.Is(err, registry.ErrWritten) {
		t.Errorf("a second watcher: %v", err)
	}
	if err := Scan(t.Context(), w.registry); !errors.Is(err, registry.ErrWritten) {
		t.Errorf("a scan beside the watcher: %v", err)
	}
	w.stop()
	if err := w.Run(t.Context()); !errors.Is(err, ErrRan) {
		t.Errorf("a second run: %v", err)
	}
	if w.registry.Len() != 1 {
		t.Error("the registry has changed")
	}
	if err := Scan(t.Context(), w.registry); err != nil {
		t.Errorf("a scan after the watcher: %v", err)
	}
}

// A dir that is doubted is read and watched anew, though no event told of a change: here a
// hard link to the sidecar is written elsewhere.
func TestDoubt(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Link(sidecarPath(root, "a"), link); err != nil {
		t.Skipf("no hard links: %v", err)
	}
	w := start(t, setup{Root: root})
	w.waitPID("a", 1)
	daemondirtest.WriteFile(t, link, sidecar(77))
	w.registry.Doubt("a")
	daemondirtest.Eventually(t, "the doubted sidecar is read", func() bool {
		e, _ := w.registry.Get("a")
		return e.SpawnedAt == daemondir.At(77)
	})
	w.registry.Doubt("never-was")
	w.checkWatched()
}

// While the root is lost nothing in it is an entry, whoever doubts it: a judge may hold an
// entry from before.
func TestDoubtWithoutRoot(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	w := start(t, setup{Root: root})
	w.waitPID("a", 1)
	home := "HOME"
	if runtime.GOOS == "windows" {
		home = "USERPROFILE"
	}
	t.Setenv(home, root) // which is refused, whoever may read it
	w.mu.Lock()
	w.session.pending.setRearm()
	w.mu.Unlock()
	w.waitFor("root.lost", 1)
	w.registry.Doubt("a")
	for wait := time.Now().Add(200 * time.Millisecond); time.Now().Before(wait); time.Sleep(time.Millisecond) {
		if w.registry.Len() != 0 {
			t.Fatal("there is an entry of a root that is lost")
		}
	}
}

// A root that comes back locked is waited for, which is said each time that it comes back.
func TestLockedRootIsSaidAgain(t *testing.T) {
	root := newRoot(t)
	var lock testLock
	var locked atomic.Bool
	w := start(t, setup{Root: root, Lock: func(root string) (string, func(), error) {
		if locked.Load() {
			return "", nil, errors.New("somebody else has it")
		}
		return lock.lock(root)
	}})
	w.waitFor("root.found", 1)
	locked.Store(true)
	rename(t, root, root+".away")
	w.waitFor("root.lost", 1)
	for n := 1; n <= 2; n++ {
		rename(t, root+".away", root)
		w.waitFor("root.locked", n)
		rename(t, root, root+".away")
		time.Sleep(100 * time.Millisecond) // for a session that finds it missing
	}
	locked.Store(false)
	rename(t, root+".away", root)
	w.waitFor("root.found", 2)
}

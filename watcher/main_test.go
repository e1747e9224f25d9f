package watcher

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/rs/zerolog"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

func TestMain(m *testing.M) { daemondirtest.Main(m) }

// patience is how long a test waits for what must happen.
const patience = daemondirtest.Patience

// never is an interval that no test lives to see: what happens, happens by an event.
const never = time.Hour

// running is a [Watcher.Run] in a goroutine of its own.
type running struct {
	*Watcher
	t        *testing.T
	root     string
	registry *registry.Registry
	changes  *registry.Follower // of all that the watcher writes
	lock     Lock
	log      *daemondirtest.Log

	cancel context.CancelFunc
	done   chan error

	mu      sync.Mutex // guards session
	session *session
}

// setup is what a test's watcher is made from.
type setup struct {
	Root                        string
	PollInterval, CheckInterval time.Duration
	Lock                        Lock
}

// start runs a watcher until the test ends, and fails the test if it leaves a
// goroutine behind. Polling is off unless opts set an interval.
func start(t *testing.T, opts setup) *running {
	t.Helper()
	w := prepare(t, opts)
	w.run()
	return w
}

// prepare is start without the running.
func prepare(t *testing.T, opts setup) *running {
	t.Helper()
	reg := registry.New(opts.Root)
	w := &running{
		t: t, root: opts.Root, registry: reg, changes: reg.Follow(), lock: opts.Lock,
		log: new(daemondirtest.Log), done: make(chan error, 1),
	}
	watcher, err := New(Options{
		Registry: reg, Log: zerolog.New(w.log),
		PollInterval: cmp.Or(opts.PollInterval, never), CheckInterval: cmp.Or(opts.CheckInterval, never),
	})
	if err != nil {
		t.Fatal(err)
	}
	watcher.onSession = func(s *session) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.session = s
	}
	w.Watcher = watcher
	return w
}

// newSession begins a session of a watcher that does not run.
func (w *running) newSession() *session {
	if w.reg == nil {
		var err error
		if w.reg, err = w.registry.Write(); err != nil {
			w.t.Fatal(err)
		}
	}
	w.last = inspectRoot(w.root)
	return w.Watcher.newSession()
}

func (w *running) run() {
	w.t.Helper()
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(w.t.Context())
	w.cancel = cancel
	go func() { w.done <- w.RunLocked(ctx, w.lock) }()
	w.t.Cleanup(func() {
		w.stop()
		daemondirtest.Eventually(w.t, "every goroutine to end", func() bool { return runtime.NumGoroutine() <= before })
		if w.t.Failed() {
			w.t.Logf("log:\n%s", w.log)
		}
	})
}

// overflow makes the current session believe that the kernel's queue was full.
func (w *running) overflow() { w.error(fsnotify.ErrEventOverflow) }

// error makes the current session believe that fsnotify has said err.
func (w *running) error(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.session != nil {
		w.session.pending.error(err)
	}
}

// stop ends the watcher and waits for it.
func (w *running) stop() {
	w.t.Helper()
	if w.cancel == nil {
		return
	}
	w.cancel()
	w.cancel = nil
	select {
	case err := <-w.done:
		if err != nil {
			w.t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		stacks := make([]byte, 1<<20)
		w.t.Fatalf("Run does not return:\n%s", stacks[:runtime.Stack(stacks, true)])
	}
}

// waitFor waits until an event of that name was logged n times.
func (w *running) waitFor(event string, n int) {
	w.t.Helper()
	daemondirtest.Eventually(w.t, fmt.Sprintf("%d %s", n, event), func() bool { return w.count(event) >= n })
}

// waitPID waits until the registry has that pid for name.
func (w *running) waitPID(name string, pid int) {
	w.t.Helper()
	daemondirtest.Eventually(w.t, fmt.Sprintf("%q to have pid %d", name, pid), func() bool { return w.hasPID(name, pid) })
}

func (w *running) hasPID(name string, pid int) bool {
	e, ok := w.registry.Get(name)
	return ok && e.PID == (daemondir.PID{N: uint32(pid), Known: true})
}

// waitEqual waits until the registry says what a fresh scan says.
func (w *running) waitEqual() {
	w.t.Helper()
	daemondirtest.EventuallyNone(w.t, w.diff)
}

// diff says in what the registry is not what a fresh scan says.
func (w *running) diff() string {
	fresh := registry.New(w.root)
	if err := Scan(context.Background(), fresh); err != nil {
		return err.Error()
	}
	var diff strings.Builder
	for _, name := range fresh.Names() {
		want, _ := fresh.Get(name)
		if got, ok := w.registry.Get(name); !ok {
			fmt.Fprintf(&diff, "%q is missing\n", name)
		} else if got != want {
			fmt.Fprintf(&diff, "%q is\n\t%+v, want\n\t%+v\n", name, got, want)
		}
	}
	for _, name := range w.registry.Names() {
		if _, ok := fresh.Get(name); !ok {
			fmt.Fprintf(&diff, "%q is not on disk\n", name)
		}
	}
	return diff.String()
}

// checkWatched changes every daemon dir on disk in one go and waits for the registry
// to notice each: a watch that is missing, or on another dir, is found out.
func (w *running) checkWatched() {
	w.t.Helper()
	names, err := listDirs(w.root, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	pids := make(map[string]int)
	for i, name := range names {
		pids[name] = 1_000_000 + int(markers.next())*10_000 + i
		daemondirtest.WriteFile(w.t, filepath.Join(w.root, name, daemondir.PIDFileName), strconv.Itoa(pids[name]))
	}
	daemondirtest.EventuallyNone(w.t, func() string {
		maps.DeleteFunc(pids, w.hasPID)
		if len(pids) == 0 {
			return ""
		}
		return fmt.Sprint("watched: ", pids)
	})
	if w.count("watch.degraded") > w.count("watch.restored") {
		w.t.Fatal("noticed by polling, not by an event")
	}
}

// markers numbers the calls of checkWatched, so that each writes pids of its own.
var markers counter

type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) next() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return c.n
}

// spawn does on disk what a spawner does, but for the process.
func spawn(t *testing.T, root, name string, pid int) {
	t.Helper()
	if err := trySpawn(root, name, pid, 0); err != nil {
		t.Fatal(err)
	}
}

// trySpawn is spawn with a pause after the dir is made.
func trySpawn(root, name string, pid int, pause time.Duration) error {
	d := daemondirtest.Dir{Root: root, Name: name}
	if err := d.Mkdir(); err != nil {
		return err
	}
	work(pause)
	if err := d.WriteSidecar([]byte(sidecar(pid))); err != nil {
		return err
	}
	return d.WritePID(strconv.Itoa(pid))
}

// sidecar returns the text of a sidecar that was written at unixMS.
func sidecar(unixMS int) string {
	return string(daemondirtest.Sidecar(time.UnixMilli(int64(unixMS)), time.Time{}))
}

// work passes a time shorter than any sleep.
func work(d time.Duration) {
	for began := time.Now(); time.Since(began) < d; {
	}
}

func sidecarPath(root, name string) string {
	return daemondirtest.Dir{Root: root, Name: name}.Sidecar()
}

func mkdir(t *testing.T, path string) string {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	unlessOpen(t, func() error { return os.Rename(from, to) })
}

// removeAll removes path. Unlike os.RemoveAll, which begins with RemoveDirectory, it frees the
// name of an empty dir at once on Windows, too.
func removeAll(t *testing.T, path string) {
	t.Helper()
	unlessOpen(t, func() error {
		parent, err := os.OpenRoot(filepath.Dir(path))
		if err != nil {
			return err
		}
		defer parent.Close()
		return parent.RemoveAll(filepath.Base(path))
	})
}

// unlessOpen does what Windows may refuse while the watch has something open, such as a rename
// of a dir with a file that it reads. There it is tried again.
func unlessOpen(t *testing.T, do func() error) {
	t.Helper()
	daemondirtest.EventuallyNone(t, func() string {
		err := do()
		if err == nil {
			return ""
		}
		if runtime.GOOS != "windows" {
			t.Fatal(err)
		}
		return err.Error()
	})
}

// newRoot returns a runtime root of its own, in a parent of its own.
func newRoot(t *testing.T) string {
	t.Helper()
	return mkdir(t, filepath.Join(t.TempDir(), "runtime"))
}

// count returns how often that event was logged.
func (w *running) count(event string) int { return len(w.log.Events(event)) }

// history returns the names of all events of the root itself, in order.
func (w *running) history() string {
	var names []string
	for _, fields := range w.log.Events("") {
		if name, _ := fields["event"].(string); strings.HasPrefix(name, "root.") {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

// names takes what waits in a queue.
func names(q *registry.Queue) (names []string) {
	for _, change := range q.Take() {
		names = append(names, change.Name)
	}
	return names
}

package prune

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// trampolineVar makes the test binary be a daemon: it waits to be killed.
const trampolineVar = "RUNTIMEGC_TEST_TRAMPOLINE"

func TestMain(m *testing.M) {
	if os.Getenv(trampolineVar) != "" {
		time.Sleep(time.Hour)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// deadPID is above every Linux system's largest pid (2^22, proc_sys_kernel(5)).
const deadPID = daemondirtest.DeadPID

// daemonDir is a daemon dir on disk, made by hand.
type daemonDir struct {
	t    *testing.T
	root string
	name string
}

func (d daemonDir) path() string    { return filepath.Join(d.root, d.name) }
func (d daemonDir) sidecar() string { return filepath.Join(d.path(), d.name+".daemon.json") }
func (d daemonDir) pidFile() string { return filepath.Join(d.path(), daemondir.PIDFileName) }

// newDir makes a daemon dir with that sidecar and, unless it is empty, pid file.
func newDir(t *testing.T, root, name, sidecar, pid string) daemonDir {
	t.Helper()
	d := daemonDir{t, root, name}
	if err := os.MkdirAll(d.path(), 0o755); err != nil {
		t.Fatal(err)
	}
	d.write(d.sidecar(), sidecar)
	if pid != "" {
		d.write(d.pidFile(), pid)
	}
	return d
}

// newDead makes the dir of a daemon that died age ago.
func newDead(t *testing.T, root, name string, age time.Duration) daemonDir {
	t.Helper()
	seen := time.Now().Add(-age).UnixMilli()
	return newDir(t, root, name, sidecarText(seen, seen), strconv.Itoa(deadPID))
}

// newLive makes the dir of a daemon that runs, the trampoline lying inside.
func newLive(t *testing.T, root, name string) (daemonDir, *exec.Cmd) {
	t.Helper()
	now := time.Now().UnixMilli()
	d := newDir(t, root, name, sidecarText(now, now), "")
	exe := filepath.Join(d.path(), name)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Link(self, exe); err != nil {
		// Another file system, or fs.protected_hardlinks: the spawner copies, too.
		data, err := os.ReadFile(self)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(exe, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), trampolineVar+"=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	d.write(d.pidFile(), strconv.Itoa(cmd.Process.Pid))
	return d, cmd
}

func sidecarText(spawnedAt, lastSeen int64) string {
	return fmt.Sprintf(`{
  "command": "/usr/bin/true",
  "env": {"TOKEN": "secret"},
  "spawned_at_unix_ms": %d,
  "last_seen_unix_ms": %d
}`, spawnedAt, lastSeen)
}

func (d daemonDir) write(path, text string) {
	d.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		d.t.Fatal(err)
	}
}

func (d daemonDir) read(path string) string {
	d.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(text)
}

func (d daemonDir) exists() bool {
	_, err := os.Lstat(d.path())
	return err == nil
}

func (d daemonDir) entry() daemondir.Entry {
	d.t.Helper()
	e, err := daemondir.Read(d.root, d.name)
	// A child that this test forks has our leased files for a moment, until its exec.
	for deadline := time.Now().Add(20 * time.Second); errors.Is(err, daemondir.ErrBusy) && time.Now().Before(deadline); {
		e, err = daemondir.Read(d.root, d.name)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return e
}

// refresh refreshes one sidecar as a sweep does.
func refresh(root string, e daemondir.Entry, ms uint64) (wrote bool, err error) {
	r, err := newRefresher(root)
	if err != nil {
		return false, err
	}
	defer r.close()
	fresh, err := r.refresh(e, ms)
	return fresh != e, err
}

// bench is a collector over a root of its own, whose registry is filled by hand, and an
// observer that keeps what it knows from one sweep to the next, as in Run.
type bench struct {
	*observer
	t      *testing.T
	root   string
	w      *registry.Writer
	log    *daemondirtest.Log
	locked bool
}

func newBench(t *testing.T, opts Options) *bench { return newBenchIn(t, t.TempDir(), opts) }

func newBenchIn(t *testing.T, root string, opts Options) *bench {
	t.Helper()
	b := &bench{t: t, root: root, log: new(daemondirtest.Log)}
	opts.Registry, opts.Log = registry.New(root), zerolog.New(b.log)
	if opts.StaleAfter == 0 {
		opts.StaleAfter = time.Hour
	}
	var err error
	if b.w, err = opts.Registry.Write(); err != nil {
		t.Fatal(err)
	}
	c, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	b.observer = c.newObserver()
	t.Cleanup(func() { _ = b.observer.close() })
	return b
}

// put stores an entry of a scan.
func (b *bench) put(e daemondir.Entry) { b.w.Put(e, time.Time{}) }

// scan does the watcher's work once.
func (b *bench) scan() {
	b.t.Helper()
	onDisk, err := os.ReadDir(b.root)
	if err != nil {
		b.t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, entry := range onDisk {
		if e, err := daemondir.Read(b.root, entry.Name()); err == nil {
			b.put(e)
			seen[e.Name] = true
		}
	}
	for _, name := range b.reg.Names() {
		if !seen[name] {
			b.w.Delete(name)
		}
	}
}

// sweep scans and sweeps, and returns the rows by name.
func (b *bench) sweep() (Stats, map[string]Row) {
	b.t.Helper()
	b.scan()
	rows := make(map[string]Row)
	return b.pass(b.t.Context(), func(r Row) { rows[r.Name] = r }), rows
}

// pass is a sweep that keeps what it knows, under the lock.
func (b *bench) pass(ctx context.Context, visit func(Row)) Stats {
	b.t.Helper()
	if !b.locked && !b.dryRun {
		release, err := b.Lock()
		if err != nil {
			b.t.Fatal(err)
		}
		b.locked = true
		b.t.Cleanup(release)
	}
	return b.observer.sweep(ctx, visit)
}

// watcherByHand stands in for a watcher: the bench fills the registry.
type watcherByHand struct{ reg *registry.Registry }

func (w watcherByHand) Registry() *registry.Registry { return w.reg }

func (w watcherByHand) RunLocked(ctx context.Context, lock func(string) (func(), error)) error {
	release, err := lock(w.reg.Root())
	if err != nil {
		return err
	}
	<-ctx.Done()
	release()
	return nil
}

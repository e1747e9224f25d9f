package prune

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

func TestMain(m *testing.M) { daemondirtest.Main(m) }

// sidecarText is the text of a sidecar with these times, in ms since the epoch.
func sidecarText(spawnedAt, lastSeen int64) string {
	return string(daemondirtest.Sidecar(time.UnixMilli(spawnedAt), time.UnixMilli(lastSeen)))
}

// entryOf reads a daemon dir.
func entryOf(t *testing.T, d daemondirtest.Dir) (e daemondir.Entry) {
	t.Helper()
	// A child that this test forks has our leased files for a moment, until its exec.
	daemondirtest.Eventually(t, "the sidecar is nobody's", func() bool {
		var err error
		if e, err = daemondir.Read(d.Root, d.Name); err != nil && !errors.Is(err, daemondir.ErrBusy) {
			t.Fatal(err)
		}
		return err == nil
	})
	return e
}

// openSidecar opens a dir's sidecar as a refresh does.
func openSidecar(t *testing.T, d daemondirtest.Dir, mode daemondir.Mode) *daemondir.File {
	t.Helper()
	dir, err := daemondir.Open(d.Root, d.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	f, err := dir.OpenSidecar(mode)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// hasLeases says whether a lease can be had on a dir's sidecar.
func hasLeases(t *testing.T, d daemondirtest.Dir) bool {
	t.Helper()
	f := openSidecar(t, d, daemondir.ReadWrite)
	defer f.Close()
	return !errors.Is(fsys.TakeLease(f), fsys.ErrNoLeases)
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
	rows   map[string]Row // of the last sweep
	every  bool           // sweeps judge all dirs, as SweepAndWait does
	start  func()         // see watched
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

// sweep scans and sweeps, and returns the rows by name. What the pass has skipped has a row as if
// it were judged now, by which it must be kept.
func (b *bench) sweep() (Stats, map[string]Row) {
	b.t.Helper()
	b.scan()
	rows := make(map[string]Row)
	stats := b.pass(b.t.Context(), func(r Row) { rows[r.Name] = r })
	for name, d := range b.daemons {
		e, known := b.reg.Get(name)
		if _, judged := rows[name]; judged || !known {
			continue
		}
		row := b.row(d.seen(e), *d.Liveness, b.now(), b.Times().StaleAfter)
		if last := b.rows[name]; row.Decision == Remove && last.Decision == Keep {
			row = last // a check before the removal keeps it, and cannot end otherwise yet
		}
		if row.Decision != Keep {
			b.t.Errorf("%q was skipped, and the decision is %q", name, row.Decision)
		}
		rows[name] = row
	}
	b.rows = rows
	return stats, rows
}

// pass is a sweep as in Run, with what is known and what it skips, under the lock. visit is not
// called with what was skipped.
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
	return b.observer.sweep(ctx, b.every, visit)
}

// watcherByHand stands in for a watcher: the bench fills the registry.
type watcherByHand struct{ reg *registry.Registry }

func (w watcherByHand) Registry() *registry.Registry { return w.reg }

func (w watcherByHand) RunLocked(ctx context.Context, lock func(string) (string, func(), error)) error {
	_, release, err := lock(w.reg.Root())
	if err != nil {
		return err
	}
	<-ctx.Done()
	release()
	return nil
}

package prune

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// A run leaves nothing behind that a later pass could take for true: a daemon that has died
// since is dead.
func TestSweepAfterARun(t *testing.T) {
	b := newBench(t, Options{SweepInterval: time.Hour})
	d, cmd := daemondirtest.MakeLive(t, b.root, "a")
	b.scan()
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- b.Run(ctx, watcherByHand{b.reg}) }()
	b.wantEvents("daemon.live", 1)
	if _, err := b.Sweep(t.Context(), nil); !errors.Is(err, ErrBusy) {
		t.Errorf("a sweep beside the run: %v", err)
	}
	if err := b.Run(t.Context(), watcherByHand{b.reg}); !errors.Is(err, ErrBusy) {
		t.Errorf("a second run beside the first: %v", err)
	}
	cancel()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	before := daemondirtest.ReadFile(t, d.Sidecar())
	result, err := b.Sweep(t.Context(), nil)
	if err != nil || result.Dead != 1 || result.Refreshed != 0 || len(result.Rows) != 1 || result.Rows[0].State != Dead {
		t.Errorf("%+v, %v; want one dead", result, err)
	}
	if daemondirtest.ReadFile(t, d.Sidecar()) != before {
		t.Error("the dead daemon was refreshed")
	}
}

// What a watcher writes and a collector reads is one registry, or nothing runs.
func TestRunChecksTheWatcher(t *testing.T) {
	b := newBench(t, Options{})
	for rule, w := range map[string]Watcher{"none": nil, "of another registry": watcherByHand{registry.New(b.root)}} {
		if err := b.Run(t.Context(), w); err == nil {
			t.Errorf("%s: no error", rule)
		}
	}
}

// failingWatcher ends at once.
type failingWatcher struct {
	watcherByHand
	err error
}

func (w failingWatcher) RunLocked(context.Context, func(string) (string, func(), error)) error {
	return w.err
}

// Without a watcher the registry is no longer true: then the run is over.
func TestRunEndsWithTheWatcher(t *testing.T) {
	b := newBench(t, Options{})
	failed := errors.New("failed")
	if err := b.Run(t.Context(), failingWatcher{watcherByHand{b.reg}, failed}); !errors.Is(err, failed) {
		t.Errorf("Run: %v", err)
	}
}

// Whoever asks for a plan or an explanation while it runs is another goroutine; -race looks
// on.
func TestPlanWhileItRuns(t *testing.T) {
	b := running(t, Options{SweepInterval: time.Millisecond, DryRun: true})
	daemondirtest.MakeDead(t, b.root, "dead", 2*time.Hour)
	daemondirtest.MakeLive(t, b.root, "live")
	b.scan()
	// The sweep may have the pid file open and get no processor for longer than a plan waits, and
	// another test may mount something while users are looked for.
	planned := 0
	removable := func(row Row) bool {
		moved := row.Reason == Changed && strings.Contains(row.Details, "users were looked for")
		if row.Decision == Keep && (row.Reason == InUse || moved) {
			return true
		}
		planned++
		return row.Decision == Remove
	}
	daemondirtest.Eventually(t, "20 sweeps, and as many plans", func() bool {
		rows := make(map[string]Row)
		for _, row := range b.Plan(t.Context()).Rows {
			rows[row.Name] = row
		}
		if len(rows) != 2 || !removable(rows["dead"]) || rows["live"].Decision != Refresh {
			t.Errorf("planned %v", rows)
		}
		if x, ok := b.Explain("dead"); !ok || !removable(x.Row) {
			t.Errorf("explained %+v", x)
		}
		return b.Totals().Sweeps > 20 && planned > 40
	})
}

// A sweep that is asked for comes before the interval is over.
func TestSweepNow(t *testing.T) {
	b := running(t, Options{SweepInterval: time.Hour})
	daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	b.scan()
	b.wantEvents("daemon.added", 1)
	b.SweepNow()
	b.wantEvents("daemon.removed", 1)
}

// What was planned in a root that is lost is not done there once the lock is another
// root's: that one may be served by somebody else.
func TestWorkerLeavesALostRoot(t *testing.T) {
	b := newBench(t, Options{})
	first, second := daemondirtest.MakeDead(t, b.root, "first", 2*time.Hour), daemondirtest.MakeDead(t, b.root, "second", 2*time.Hour)
	w := &worker{Collector: b.Collector}
	defer w.close()
	remove := func(e daemondir.Entry) report {
		return w.do(t.Context(), task{kind: removing, items: []item{{entry: e}}, staleAfter: time.Hour})
	}
	e := entryOf(t, second)
	release, err := b.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if r := remove(entryOf(t, first)); len(r.outcomes) != 1 || first.Exists() {
		t.Fatalf("%+v", r)
	}
	release()
	if r := remove(e); len(r.outcomes) != 0 || !second.Exists() {
		t.Errorf("without the lock: %+v", r)
	}
	away := b.root + "-away"
	if err := errors.Join(os.Rename(b.root, away), os.Mkdir(b.root, 0o755)); err != nil {
		t.Fatal(err)
	}
	if release, err = b.Lock(); err != nil {
		t.Fatal(err)
	}
	defer release()
	if r := remove(e); len(r.outcomes) != 1 || r.outcomes[0].removal.kept != Gone {
		t.Errorf("under the lock of another root: %+v", r)
	}
	if _, err := os.Stat(filepath.Join(away, "second", "second.daemon.json")); err != nil {
		t.Errorf("removed from the root that was lost: %v", err)
	}
}

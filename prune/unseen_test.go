package prune

// Daemons whose life was over before anybody looked.

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"runtimegc/registry"
	"runtimegc/registry/daemondir/daemondirtest"
	"runtimegc/watcher"
)

// watched is a bench with a real watcher, which runs once it is started.
func watched(t *testing.T, opts Options) *bench {
	t.Helper()
	b := &bench{t: t, root: t.TempDir() + "/root", log: new(daemondirtest.Log)}
	opts.Registry, opts.Log, opts.StaleAfter = registry.New(b.root), zerolog.New(b.log), time.Hour
	w, err := watcher.New(watcher.Options{Registry: opts.Registry, Log: opts.Log})
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	b.observer = &observer{Collector: c}
	b.start = func() {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx, w) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	return b
}

// handled waits until the collector has handled all that was done before.
func (b *bench) handled(scan func()) {
	b.t.Helper()
	n := len(b.log.Events("daemon.live"))
	daemondirtest.MakeLive(b.t, b.root, "handled-"+strconv.Itoa(n))
	scan()
	b.wantEvents("daemon.live", n+1)
}

// synced says that the scan is complete, and waits for the sweep that follows.
func (b *bench) synced() {
	b.t.Helper()
	daemondirtest.Eventually(b.t, "a sweep", func() bool {
		b.w.SetSynced()
		return b.Totals().Sweeps > 0
	})
}

// A daemon that is dead when it is first seen is said to have exited, once, if it appeared
// while the root was watched; its sidecar is not touched. Not so one that was there before.
func TestDeadWhenFirstSeen(t *testing.T) {
	t.Parallel()
	b := running(t, Options{SweepInterval: time.Hour})
	old := daemondirtest.MakeDead(t, b.root, "old", time.Minute)
	b.scan()
	b.handled(b.scan)
	b.synced()
	b.wantEvents("daemon.exited", 0)

	d := daemondirtest.MakeDead(t, b.root, "new", time.Minute)
	text := daemondirtest.ReadFile(t, d.Sidecar())
	b.scan()
	line := b.wantEvents("daemon.exited", 1)[0]
	seen := float64(entryOf(t, d).LastSeen.MS)
	if line["daemon"] != "new" || line["pid"] != float64(daemondirtest.DeadPID) || line["previous_pid"] != nil ||
		line["reason"] != "exited" || line["stale_at_unix_ms"] != seen+float64(time.Hour.Milliseconds()) {
		t.Errorf("logged %v", line)
	}
	b.handled(b.scan)
	if daemondirtest.ReadFile(t, d.Sidecar()) != text {
		t.Error("its sidecar was changed")
	}
	if n := b.Totals().Exited; n != 1 {
		t.Errorf("%d exits are counted", n)
	}

	// The same again, whatever is rewritten.
	pid := strconv.Itoa(daemondirtest.DeadPID)
	for _, d := range []daemondirtest.Dir{old, d} {
		for _, step := range []struct{ path, text string }{
			{d.PIDFile(), pid}, {d.PIDFile(), ""}, {d.Sidecar(), ""}, {d.Sidecar(), text}, {d.PIDFile(), pid},
			{d.Sidecar(), sidecarText(time.Now().UnixMilli(), 0)}, // a respawn, beside the old pid
		} {
			daemondirtest.WriteFile(t, step.path, step.text)
			b.scan()
			b.handled(b.scan)
		}
	}
	b.wantEvents("daemon.exited", 1)
	// The next process of the name, which is over as well.
	daemondirtest.WriteFile(t, old.PIDFile(), strconv.Itoa(daemondirtest.DeadPID-1))
	b.scan()
	if line := b.wantEvents("daemon.exited", 2)[1]; line["daemon"] != "old" || line["previous_pid"] != nil {
		t.Errorf("logged %v", line)
	}
}

// An event comes while the root is first scanned: what it is about has just appeared.
func TestDeadWhenFirstSeenByAnEvent(t *testing.T) {
	t.Parallel()
	b := running(t, Options{SweepInterval: time.Hour})
	d := daemondirtest.MakeDead(t, b.root, "new", time.Minute)
	if err := b.Ping(t.Context()); err != nil { // now it follows the registry
		t.Fatal(err)
	}
	b.w.Put(entryOf(t, d), time.Now())
	b.wantEvents("daemon.exited", 1)
}

// In a shared root, what has no process here may be alive elsewhere, or have been for long.
func TestDeadWhenFirstSeenInASharedRoot(t *testing.T) {
	t.Parallel()
	b := running(t, Options{SweepInterval: time.Hour, SharedRoot: SharedYes})
	b.synced()
	now := time.Now().UnixMilli()
	for name, text := range map[string]string{"never-seen": sidecarText(now-1000, now-1000), "seen": sidecarText(now-1000, now)} {
		daemondirtest.Make(t, b.root, name, text, strconv.Itoa(daemondirtest.DeadPID))
	}
	b.scan()
	b.handled(b.scan)
	b.wantEvents("daemon.exited", 0)
}

// A root that is found, and found again, holds what died long ago.
//
// Not in parallel: what another test forks has our lock on the root for a moment.
func TestDeadWhenTheRootIsFound(t *testing.T) {
	b := watched(t, Options{SweepInterval: time.Hour})
	b.start()
	other := t.TempDir()
	for _, name := range []string{"a", "b"} {
		daemondirtest.MakeDead(t, other+"/root", name, time.Minute)
	}
	for n := 1; n <= 2; n++ {
		if err := os.Rename(other+"/root", b.root); err != nil {
			t.Fatal(err)
		}
		b.wantEvents("daemon.added", 2*n)
		daemondirtest.Eventually(t, "a sweep", func() bool { return b.Totals().Sweeps >= n })
		if n == 2 {
			break
		}
		if err := os.Rename(b.root, other+"/root"); err != nil {
			t.Fatal(err)
		}
		b.wantEvents("daemon.gone", 2)
	}
	b.wantEvents("daemon.exited", 0)
	daemondirtest.MakeDead(t, b.root, "c", time.Minute)
	b.wantEvents("daemon.exited", 1)
}

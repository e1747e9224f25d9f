package prune

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// changeUnseen writes the sidecar of d through a hard link elsewhere, of which no event tells.
func changeUnseen(t *testing.T, d daemondirtest.Dir, text string) {
	t.Helper()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Link(d.Sidecar(), link); err != nil {
		t.Skipf("no hard links: %v", err)
	}
	daemondirtest.WriteFile(t, link, text)
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
}

// wantUnseen fails the test if the registry has the dir as it is on disk. It returns the dir
// as it is.
func (b *bench) wantUnseen(d daemondirtest.Dir) daemondir.Entry {
	b.t.Helper()
	b.handled(func() {})
	want := entryOf(b.t, d)
	if e, _ := b.reg.Get(d.Name); e == want {
		b.t.Fatal("the change raised an event")
	}
	return want
}

// wantKnown waits until the registry has the dir as want says, or no more: a sweep removes only
// what it knows. It does not read the dir meanwhile, because a sweep would find the sidecar open,
// and leave it to the next.
func (b *bench) wantKnown(want daemondir.Entry) {
	b.t.Helper()
	daemondirtest.Eventually(b.t, "the entry is right", func() bool {
		e, there := b.reg.Get(want.Name)
		return e == want || !there
	})
}

// A change that raises no event is found by the next sweep, of a live daemon when that
// refreshes it, and of a dead one that is due by its last look. Then the watcher reads the dir.
func TestChangeWithoutAnEvent(t *testing.T) {
	b := watched(t, Options{SweepInterval: time.Hour})
	live, _ := daemondirtest.MakeLive(t, b.root, "live")
	respawned, changed := daemondirtest.MakeDead(t, b.root, "respawned", 8*time.Hour), daemondirtest.MakeDead(t, b.root, "changed", 8*time.Hour)
	needLeases(t, live)
	times := Settings{StaleAfter: 24 * time.Hour, SweepInterval: time.Hour}
	if err := b.SetTimes(times); err != nil {
		t.Fatal(err)
	}
	b.start()
	daemondirtest.Eventually(t, "a sweep", func() bool { return b.Totals().Sweeps > 0 })
	b.wantKnown(entryOf(t, live)) // with the time of that sweep

	now := time.Now().UnixMilli()
	changeUnseen(t, live, sidecarText(now-2000, now-1000))
	b.wantUnseen(live)
	daemondirtest.Eventually(t, "the change is found", func() bool {
		b.SweepNow() // one may find the sidecar open
		e, _ := b.reg.Get("live")
		return e == entryOf(t, live)
	})
	refreshed := b.Totals().Refreshed
	daemondirtest.Eventually(t, "it is refreshed again", func() bool {
		b.SweepNow() // the watcher may still be reading it
		return b.Totals().Refreshed > refreshed
	})

	e := entryOf(t, changed)
	changeUnseen(t, respawned, sidecarText(now-3*3600_000, now-3*3600_000))
	changeUnseen(t, changed, sidecarText(int64(e.SpawnedAt.MS), now-3*3600_000))
	isRespawned, isChanged := b.wantUnseen(respawned), b.wantUnseen(changed)
	times.StaleAfter = time.Hour // by their entries they are due, and by what they say now
	if err := b.SetTimes(times); err != nil {
		t.Fatal(err)
	}
	b.SweepNow()
	b.wantKnown(isRespawned)
	b.wantKnown(isChanged)
	daemondirtest.Eventually(t, "they are removed", func() bool {
		b.SweepNow()
		return !respawned.Exists() && !changed.Exists()
	})
	if lines := b.log.Events("daemon.gone"); len(lines) > 0 {
		t.Errorf("logged %v", lines)
	}
}

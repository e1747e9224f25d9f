package prune

import (
	"os"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// liveSince is a live daemon that was last seen alive so long ago: the host was suspended,
// or sweeps are rare.
func (b *bench) liveSince(t *testing.T, age time.Duration) (d daemondirtest.Dir, kill func() time.Time) {
	t.Helper()
	d, cmd := daemondirtest.MakeLive(t, b.root, "a")
	e := entryOf(t, d)
	daemondirtest.WriteFile(t, d.Sidecar(), sidecarText(int64(e.SpawnedAt.MS), time.Now().Add(-age).UnixMilli()))
	b.scan()
	b.wantEvents("daemon.live", 1)
	return d, func() time.Time {
		killed := time.Now()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		daemondirtest.Eventually(t, "the exit is noticed, without a sweep where exits are announced", func() bool {
			if portable && time.Since(killed) > 500*time.Millisecond {
				b.w.SetSynced()
			}
			return len(b.log.Events("daemon.exited")) > 0
		})
		return killed
	}
}

// An exit that is noticed is a time at which the daemon was alive: it is recorded in the
// sidecar, so that the dir is kept for all of stale-after from then on.
func TestExitIsRecorded(t *testing.T) {
	b := running(t, Options{SweepInterval: time.Hour, StaleAfter: time.Hour})
	d, kill := b.liveSince(t, 30*time.Minute)
	killed := kill()
	// Not by looking into the sidecar: who has it open is in the way of the lease.
	daemondirtest.Eventually(t, "the exit is recorded", func() bool { return len(b.log.Events("sidecar.refreshed")) > 0 })
	if seen := entryOf(t, d).LastSeen.MS; seen < uint64(killed.UnixMilli()) {
		t.Errorf("last seen at %d, and killed at %d", seen, killed.UnixMilli())
	}
	daemondirtest.Eventually(t, "it is counted", func() bool { return b.Totals().Refreshed == len(b.log.Events("sidecar.refreshed")) })
	line := b.wantEvents("daemon.exited", 1)[0]
	if want := float64(entryOf(t, d).LastSeen.MS + 3_600_000); line["stale_at_unix_ms"] != want {
		t.Errorf("stale at %v, want %v", line["stale_at_unix_ms"], want)
	}
}

// Nor is a dir removed before that whose sidecar cannot be written, however stale that is.
func TestExitThatCannotBeRecorded(t *testing.T) {
	t.Parallel()
	const staleAfter = 2 * time.Second
	b := running(t, Options{SweepInterval: 50 * time.Millisecond, StaleAfter: staleAfter})
	d, kill := b.liveSince(t, time.Hour)
	if !hasLeases(t, d) {
		t.Skip("no leases here")
	}
	// While somebody has it open to write it, nobody else does: there is no lease, or it is not
	// shared.
	writer, err := os.OpenFile(d.Sidecar(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	daemondirtest.WriteFile(t, d.Sidecar(), sidecarText(int64(entryOf(t, d).SpawnedAt.MS), time.Now().Add(-time.Hour).UnixMilli()))
	b.scan()
	before := daemondirtest.ReadFile(t, d.Sidecar())
	killed := kill()
	// The first sweep that finds it due says that it is in use.
	daemondirtest.Eventually(t, "it is due", func() bool { return len(b.log.Events("daemon.kept")) > 0 })
	if after := time.Since(killed); after < staleAfter {
		t.Errorf("due %v after its exit, want %v or more", after, staleAfter)
	}
	if daemondirtest.ReadFile(t, d.Sidecar()) != before {
		t.Error("the exit was recorded all the same")
	}
	writer.Close()
	b.wantEvents("daemon.removed", 1)
}

// Once the sidecar can be written again, the next sweep records the exit.
func TestExitIsRecordedLater(t *testing.T) {
	b := running(t, Options{SweepInterval: 50 * time.Millisecond, StaleAfter: time.Hour})
	d, kill := b.liveSince(t, 0)
	if !hasLeases(t, d) {
		t.Skip("no leases here")
	}
	writer, err := os.OpenFile(d.Sidecar(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	killed := kill()
	b.scan()
	swept := len(b.log.Events("sweep.done"))
	daemondirtest.Eventually(t, "some sweeps", func() bool { return len(b.log.Events("sweep.done")) > swept+2 })
	if entryOf(t, d).LastSeen.MS >= uint64(killed.UnixMilli()) {
		t.Fatal("it was written while it was open")
	}
	writer.Close()
	daemondirtest.Eventually(t, "the exit is recorded", func() bool {
		b.scan()
		return entryOf(t, d).LastSeen.MS >= uint64(killed.UnixMilli())
	})
}

package prune

import (
	"maps"
	"os"
	"runtime"
	"testing"
	"time"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir/daemondirtest"
)

// wantDaemons compares the counts by state, but for those that are 0.
func (b *bench) wantDaemons(want map[State]int) {
	b.t.Helper()
	got := b.Totals().Daemons
	maps.DeleteFunc(got, func(_ State, n int) bool { return n == 0 })
	if !maps.Equal(got, want) {
		b.t.Errorf("daemons %v, want %v", got, want)
	}
}

// The counts by state are those of list at any time, whatever became of a dir, and they
// go back to nothing.
func TestTotalsFollowTheStates(t *testing.T) {
	b := newBench(t, Options{})
	live, cmd := daemondirtest.MakeLive(t, b.root, "live")
	daemondirtest.MakeDead(t, b.root, "recent", time.Minute)
	daemondirtest.MakeDead(t, b.root, "stale", 2*time.Hour)
	daemondirtest.Make(t, b.root, "invalid", "x", "")
	b.scan()
	b.observeChanges()
	b.wantDaemons(map[State]int{Alive: 1, Dead: 2, Invalid: 1})

	b.sweep()
	b.wantDaemons(map[State]int{Alive: 1, Dead: 1, Invalid: 1})

	daemondirtest.WriteFile(t, live.Sidecar(), "{")
	b.scan()
	b.observeChanges()
	b.wantDaemons(map[State]int{Dead: 1, Invalid: 2})

	_ = cmd.Process.Kill() // Windows removes no program that runs
	_ = cmd.Wait()
	for _, name := range []string{"live", "recent", "invalid"} {
		if err := os.RemoveAll(daemondirtest.Dir{Root: b.root, Name: name}.Path()); err != nil {
			t.Fatal(err)
		}
	}
	b.scan()
	b.observeChanges()
	b.wantDaemons(map[State]int{})
}

// What is counted is what the log says: a dir that stays due and kept is one line and
// one count however many sweeps there are, a removal counts the bytes it freed.
func TestTotalsCountWhatIsSaid(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("nobody can lock a directory there")
	}
	b := newBench(t, Options{})
	d := daemondirtest.MakeDead(t, b.root, "locked", 2*time.Hour)
	dir, err := os.Open(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := fsys.Flock(int(dir.Fd())); err != nil {
		t.Skipf("no lock of a directory: %v", err)
	}
	gone := daemondirtest.MakeDead(t, b.root, "gone", 2*time.Hour)
	size := int64(len(daemondirtest.ReadFile(t, gone.Sidecar())) + len(daemondirtest.ReadFile(t, gone.PIDFile())))
	if total := b.Totals(); !total.LastSweep.IsZero() {
		t.Errorf("swept at %v, before any sweep", total.LastSweep)
	}
	before := time.Now()
	for range 3 {
		b.sweep()
	}
	total := b.Totals()
	if want := map[Reason]int{Locked: 1}; !maps.Equal(total.Kept, want) {
		t.Errorf("kept %v, want %v", total.Kept, want)
	}
	if total.Removed != 1 || total.RemovedBytes != size || total.Sweeps != 3 || total.Failed != 0 {
		t.Errorf("in total %+v, want 1 removed of %d bytes in 3 sweeps", total, size)
	}
	if total.LastSweep.Before(before) || total.LastSweep.After(time.Now()) {
		t.Errorf("last swept at %v", total.LastSweep)
	}
	total.Kept[Locked], total.Daemons[Dead] = 100, 100
	if again := b.Totals(); again.Kept[Locked] != 1 || again.Daemons[Dead] != 1 {
		t.Error("what Totals returns is no copy")
	}
}

// A dry run does nothing, so it counts no deed, though each sweep finds the same to do.
func TestTotalsOfADryRun(t *testing.T) {
	b := newBench(t, Options{DryRun: true})
	daemondirtest.MakeDead(t, b.root, "dead", 2*time.Hour)
	daemondirtest.MakeLive(t, b.root, "live")
	if err := os.Rename(daemondirtest.MakeDead(t, b.root, "leftover", 2*time.Hour).Path(), b.path(".pruned-leftover")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b.sweep()
	}
	if total := b.Totals(); total.Removed != 0 || total.RemovedBytes != 0 || total.Refreshed != 0 || total.Sweeps != 2 {
		t.Errorf("in total %+v, though nothing was done", total)
	}
}

// Whoever scrapes is another goroutine; -race looks on.
func TestTotalsWhileItRuns(t *testing.T) {
	b := running(t, Options{SweepInterval: time.Millisecond})
	daemondirtest.MakeDead(t, b.root, "dead", 2*time.Hour)
	daemondirtest.Make(t, b.root, "invalid", "x", "")
	b.scan()
	daemondirtest.Eventually(t, "the totals tell of a removal and more sweeps", func() bool {
		total := b.Totals()
		return total.Removed == 1 && total.Sweeps > 10 && total.Daemons[Invalid] == 1
	})
}

package prune

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// A sidecar that is garbled and mended without an event is known as it is after the next
// sweep, whether or not its daemon is known to live.
func TestInvalidSidecarMendedWithoutAnEvent(t *testing.T) {
	t.Parallel()
	b := watched(t, Options{SweepInterval: time.Hour})
	live, _ := daemondirtest.MakeLive(t, b.root, "live")
	needLeases(t, live)
	dead := daemondirtest.MakeDead(t, b.root, "dead", time.Minute)
	text := daemondirtest.ReadFile(t, dead.Sidecar())
	daemondirtest.WriteFile(t, dead.Sidecar(), "{")
	if err := b.SetTimes(Settings{StaleAfter: 24 * time.Hour, SweepInterval: time.Hour}); err != nil {
		t.Fatal(err)
	}
	b.start()
	daemondirtest.Eventually(t, "a sweep", func() bool { return b.Totals().Sweeps > 0 })
	b.wantKnown(entryOf(t, live))

	changeUnseen(t, live, "{")
	changeUnseen(t, dead, text)
	garbled, mended := b.wantUnseen(live), b.wantUnseen(dead)
	b.SweepNow()
	b.wantKnown(garbled)
	b.wantKnown(mended)

	changeUnseen(t, live, string(daemondirtest.Sidecar(time.Now(), time.Now())))
	mended = b.wantUnseen(live)
	b.SweepNow()
	b.wantKnown(mended)
	refreshed := b.Totals().Refreshed
	daemondirtest.Eventually(t, "it is refreshed again", func() bool {
		b.SweepNow() // the watcher may still be reading it
		return b.Totals().Refreshed > refreshed
	})
}

// A sweep has few of many invalid dirs read, and each daemon's that has lived.
func TestFewInvalidDirsAreDoubted(t *testing.T) {
	t.Parallel()
	b := newBench(t, Options{})
	for i := range 10 * maxDoubted {
		b.put(daemondir.Entry{Name: fmt.Sprint("d", i), Dir: daemondir.FileID{Ino: uint64(i + 1)}, Problem: daemondir.ProblemNoSidecar})
	}
	b.observeChanges()
	lived := []string{"d1", "d2", "d3"}
	for _, name := range lived {
		b.daemons[name].live = true
	}
	all := make(map[string]bool)
	for range 3 {
		b.beginPass(b.Times().StaleAfter, false, nil)
		got := make(map[string]bool)
		for _, doubt := range b.w.Doubts().Take() {
			got[doubt.Name], all[doubt.Name] = true, true
		}
		if n := len(got); n < maxDoubted || n > maxDoubted+len(lived) {
			t.Errorf("%d are doubted", n)
		}
		for _, name := range lived {
			if !got[name] {
				t.Errorf("%s is not doubted", name)
			}
		}
	}
	if len(all) < maxDoubted+maxDoubted/4 {
		t.Errorf("of many, it is always the same %d", len(all))
	}
}

// A daemon whose sidecar got another time of its spawn by mmap, which raises no event, and
// that was killed, is removed like any other.
func TestKilledAfterAChangeByMmap(t *testing.T) {
	t.Parallel()
	b := watched(t, Options{SweepInterval: time.Hour})
	if err := b.SetTimes(Settings{StaleAfter: time.Second, SweepInterval: time.Hour}); err != nil {
		t.Fatal(err)
	}
	d, cmd := daemondirtest.MakeLive(t, b.root, "a")
	b.start()
	daemondirtest.Eventually(t, "a sweep", func() bool { return b.Totals().Sweeps > 0 })
	b.wantKnown(entryOf(t, d)) // with the time of that sweep
	f, err := os.OpenFile(d.Sidecar(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	text, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Skipf("no shared mapping: %v", err)
	}
	const key = `"spawned_at_unix_ms": `
	digit := &text[strings.Index(string(text), key)+len(key)+12]
	*digit = '0' + (*digit-'0'+1)%10
	if err := unix.Munmap(text); err != nil {
		t.Fatal(err)
	}
	f.Close()
	b.wantUnseen(d)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	daemondirtest.Eventually(t, "it is removed", func() bool {
		b.SweepNow()
		return !d.Exists()
	})
}

// That no process can be identified, for lack of descriptors, ends with the next sweep.
func TestForeignForAMoment(t *testing.T) {
	t.Parallel()
	b := newBench(t, Options{})
	daemondirtest.MakeLive(t, b.root, "a")
	b.scope.Store(&scope{foreign: unix.EMFILE})
	b.scan()
	b.observeChanges()
	b.wantDaemons(map[State]int{Unknown: 1})
	b.beginPass(b.Times().StaleAfter, false, nil)
	b.judge(1)
	b.wantDaemons(map[State]int{Alive: 1})
}

package prune

import (
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir/daemondirtest"
)

// limitFiles limits the open files of this process to n, until it is called with 0 or the test
// ends.
func limitFiles(t *testing.T) func(n uint64) {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	limit := func(n uint64) {
		now := was
		if n > 0 {
			now.Cur = n
		}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &now); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() { limit(0) })
	return limit
}

// When there are no descriptors for handles, that is said, once, and how many exits only sweeps
// find. When there are some again, each daemon gets its own at the next sweep.
func TestUnannouncedExits(t *testing.T) {
	if portable {
		t.Skip("exits are never announced there")
	}
	b := running(t, Options{SweepInterval: time.Hour})
	b.synced()
	const n = 5
	limit := limitFiles(t)
	limit(60)
	var cmds []*exec.Cmd
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		_, cmd := daemondirtest.MakeLive(t, b.root, name)
		cmds = append(cmds, cmd)
	}
	b.scan()
	b.wantEvents("daemon.live", n)
	sweep := func() {
		t.Helper()
		sweeps := b.Totals().Sweeps
		b.SweepNow()
		daemondirtest.Eventually(t, "a sweep", func() bool { return b.Totals().Sweeps > sweeps })
	}
	line := b.wantEvents("watch.degraded", 1)[0]
	if line["reason"] != "open_files" || line["level"] != "warn" || line["unannounced"] != float64(n) {
		t.Errorf("logged %v", line)
	}
	if got := b.Totals().Unannounced; got != n {
		t.Errorf("%d are counted", got)
	}
	_ = cmds[0].Process.Kill()
	_ = cmds[0].Wait()
	sweep()
	b.wantEvents("daemon.exited", 1)
	if got := b.Totals().Unannounced; got != n-1 {
		t.Errorf("%d are counted", got)
	}
	b.wantEvents("watch.degraded", 1)
	b.wantEvents("watch.restored", 0)

	limit(0)
	sweep()
	b.wantEvents("watch.restored", 1)
	if got := b.Totals().Unannounced; got != 0 {
		t.Errorf("%d are counted", got)
	}
	for _, cmd := range cmds[1:] {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	b.wantEvents("daemon.exited", n)
}

// Handles that come and go at the limit are not worth a line each.
func TestUnannouncedExitsDoNotFlap(t *testing.T) {
	if portable {
		t.Skip("exits are never announced there")
	}
	b := running(t, Options{SweepInterval: time.Hour})
	b.synced()
	limit := limitFiles(t)
	limit(66) // two handles: see proc's budget
	_, _ = daemondirtest.MakeLive(t, b.root, "a")
	_, second := daemondirtest.MakeLive(t, b.root, "b")
	_, _ = daemondirtest.MakeLive(t, b.root, "c")
	b.scan()
	if line := b.wantEvents("watch.degraded", 1)[0]; line["unannounced"] != float64(1) {
		t.Errorf("logged %v", line)
	}
	_ = second.Process.Kill()
	_ = second.Wait()
	daemondirtest.Eventually(t, "all that live are announced", func() bool {
		b.SweepNow()
		return b.Totals().Unannounced == 0 && b.Totals().Exited == 1
	})
	sweeps := b.Totals().Sweeps
	b.SweepNow()
	daemondirtest.Eventually(t, "a sweep", func() bool { return b.Totals().Sweeps > sweeps })
	b.wantEvents("watch.restored", 0)
}

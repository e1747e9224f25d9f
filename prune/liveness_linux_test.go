package prune

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"runtimegc/prune/internal/proc"
	"runtimegc/registry/daemondir/daemondirtest"
)

var testProber = prober{now: time.Now, clock: proc.NewClock()}

// probeDir probes a dir as the collector does.
func probeDir(t *testing.T, d daemondirtest.Dir) Liveness {
	e := entryOf(t, d)
	h := testProber.probe(e, e.PID, d.Path())
	defer h.close()
	return *h.Liveness
}

func wantLiveness(t *testing.T, d daemondirtest.Dir, state State, reason Reason) {
	t.Helper()
	if l := probeDir(t, d); l.State != state || l.Reason != reason {
		t.Errorf("got %s because %s (%v), want %s because %s", l.State, l.Reason, l.Err, state, reason)
	}
}

func TestProbeLiveDaemon(t *testing.T) {
	d, cmd := daemondirtest.MakeLive(t, t.TempDir(), "live")
	wantLiveness(t, d, Alive, Running)

	// A clock step or a spawner that was stopped: the trampoline in the dir is proof.
	daemondirtest.WriteFile(t, d.Sidecar(), sidecarText(1_000_000_000_000, 1_000_000_000_000))
	wantLiveness(t, d, Alive, Running)

	// The next spawn unlinks the trampoline before it makes the new one.
	if err := os.Remove(filepath.Join(d.Path(), d.Name)); err != nil {
		t.Fatal(err)
	}
	wantLiveness(t, d, Alive, Running)

	// Its parent, this test, has not waited yet: a zombie keeps its pid and start time.
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	daemondirtest.Eventually(t, "the killed daemon is a zombie", func() bool { return probeDir(t, d).Reason == Zombie })
	_ = cmd.Wait()
	wantLiveness(t, d, Dead, Exited)
}

func TestProbePIDReused(t *testing.T) {
	// This test process is nobody's trampoline.
	d := daemondirtest.Make(t, t.TempDir(), "reused", sidecarText(1_000_000_000_000, 1_000_000_000_000), strconv.Itoa(os.Getpid()))
	wantLiveness(t, d, Dead, PIDReused)
	// Without spawned_at there is nothing to tell it by, and the original's answer stands.
	daemondirtest.WriteFile(t, d.Sidecar(), "{}")
	wantLiveness(t, d, Alive, Running)
}

// After a step of the wall clock a start that does not match proves nothing.
func TestProbeAfterClockStep(t *testing.T) {
	var ahead time.Duration
	p := prober{now: time.Now, clock: proc.NewClockOf(func() (time.Duration, bool) { return ahead, true })}
	d := daemondirtest.Make(t, t.TempDir(), "stepped", sidecarText(1_000_000_000_000, 1_000_000_000_000), strconv.Itoa(os.Getpid()))
	e := entryOf(t, d)
	ask := func() State {
		h := p.probe(e, e.PID, d.Path())
		defer h.close()
		return h.State
	}
	for _, row := range []struct {
		ahead time.Duration
		want  State
	}{{0, Dead}, {time.Second, Dead}, {3 * time.Second, Unknown}, {-time.Hour, Unknown}, {0, Dead}} {
		if ahead = row.ahead; ask() != row.want {
			t.Errorf("the clock %v ahead: %s, want %s", row.ahead, ask(), row.want)
		}
	}
}

// Without a pidfd the same answers come from kill(2) and /proc.
func TestProbeOddPIDs(t *testing.T) {
	for pid, reason := range map[string]Reason{
		"":                    NoPID,
		"x":                   NoPID,
		"0":                   Exited, // to kill(2), 0 would be our own process group
		"4294967295":          Exited, // to kill(2), -1 would be everybody
		"2147483648":          Exited,
		strconv.Itoa(1 << 30): Exited,
	} {
		d := daemondirtest.Make(t, t.TempDir(), "odd", sidecarText(1, 1), pid)
		wantLiveness(t, d, Dead, reason)
	}
}

// gopsutil's own existence test leaves a pidfd per call to the garbage collector.
func TestProbesLeakNothing(t *testing.T) {
	if portable {
		t.Skip("gopsutil leaves pidfds to the garbage collector, on Linux only")
	}
	d, _ := daemondirtest.MakeLive(t, t.TempDir(), "live")
	count := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skipf("no /proc: %v", err)
		}
		return len(fds)
	}
	probes := 2000
	if os.Getenv("GCTEST_LONG") != "" {
		probes = 100_000
	}
	probeDir(t, d)
	before := count()
	for range probes {
		probeDir(t, d)
	}
	after := count()
	t.Logf("%d descriptors before, %d after %d probes", before, after, probes)
	if after > before+2 {
		t.Error("descriptors leak")
	}
}

// Another user's process, as an ordinary user: its exe may not be read, but it is not what
// was spawned in one's own dir, unless its start says so.
func TestProbeOfAnotherUser(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read everything")
	}
	d := daemondirtest.Make(t, t.TempDir(), "other", sidecarText(1, 1), "1")
	wantLiveness(t, d, Dead, PIDReused)
}

// A kernel thread is nobody's daemon: a pid file that names one is from before a reboot.
func TestProbeKernelThread(t *testing.T) {
	if portable {
		t.Skip("Linux has them")
	}
	const kthreadd = 2
	if comm, err := os.ReadFile("/proc/2/comm"); err != nil || string(comm) != "kthreadd\n" {
		t.Skip("no kernel threads to be seen here")
	}
	if _, err := os.Readlink("/proc/2/exe"); !errors.Is(err, fs.ErrNotExist) {
		t.Skipf("kernel threads cannot be looked into: %v", err)
	}
	d := daemondirtest.Make(t, t.TempDir(), "a", sidecarText(1_000_000_000_000, 1), strconv.Itoa(kthreadd))
	wantLiveness(t, d, Dead, PIDReused)
}

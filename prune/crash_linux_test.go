package prune

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// crashVar makes the test binary remove the dir "a" of the root it names, and be killed
// at the step that follows after a colon.
const crashVar = "GCTEST_CRASH"

// TestCrashHelper is the process that is killed.
func TestCrashHelper(t *testing.T) {
	step, root, ok := strings.Cut(os.Getenv(crashVar), ":")
	if !ok {
		t.Skip("started by TestKilledAtEveryStep")
	}
	m := newTestRemover(t, root, false)
	m.reached = func(reached string) {
		if reached == step {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	e, err := daemondir.Read(root, "a")
	if err != nil {
		t.Fatal(err)
	}
	m.remove(e)
}

// Killed at any step of a removal, the next start finishes it; and if the daemon was
// spawned again meanwhile, its dir is untouched.
func TestKilledAtEveryStep(t *testing.T) {
	for _, step := range []string{"judged", "renamed", "removed a", "removed daemon.pid", "removed deep", "removed log", "removed sidecar"} {
		for _, respawned := range []bool{false, true} {
			t.Run(step+", respawned "+strconv.FormatBool(respawned), func(t *testing.T) {
				b := newBench(t, Options{})
				d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
				daemondirtest.WriteFile(t, filepath.Join(d.Path(), "a"), "trampoline")
				daemondirtest.WriteFile(t, filepath.Join(d.Path(), "log"), "text")
				daemondirtest.Make(t, d.Path(), "deep", "", "")
				daemondirtest.MakeOld(t, d.Path(), 2*time.Hour)
				cmd := exec.Command(os.Args[0], "-test.run=^TestCrashHelper$")
				cmd.Env = append(os.Environ(), crashVar+"="+step+":"+b.root)
				out, err := cmd.CombinedOutput()
				if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
					t.Fatalf("the helper was not killed: %v\n%s", err, out)
				}
				if respawned {
					_ = os.Remove(filepath.Join(d.Path(), "a"))
					daemondirtest.MakeLive(t, b.root, "a")
				}
				_, rows := b.sweep()
				if respawned {
					for _, file := range []string{"a", "a.daemon.json", "daemon.pid"} {
						if _, err := os.Stat(filepath.Join(d.Path(), file)); err != nil {
							t.Errorf("the live daemon lost %s", file)
						}
					}
					if rows["a"].State != Alive {
						t.Errorf("the live daemon is %s", rows["a"].State)
					}
					return
				}
				if left, _ := os.ReadDir(b.root); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		}
	}
}

// Killed at random moments while it removes and refreshes, no live daemon's dir is
// lost, and in the end all dead ones are gone. The long form is behind GCTEST_LONG.
func TestKilledAtRandom(t *testing.T) {
	const helperVar = "GCTEST_SWEEP"
	if root := os.Getenv(helperVar); root != "" {
		sweepForEver(root)
	}
	kills := 15
	if os.Getenv("GCTEST_LONG") != "" {
		kills = 1000
	}
	b := newBench(t, Options{})
	var live []daemondirtest.Dir
	for i := range 5 {
		d, _ := daemondirtest.MakeLive(t, b.root, "live"+strconv.Itoa(i))
		live = append(live, d)
	}
	halfDone := make(map[string]bool)
	count := func() int {
		entries, err := os.ReadDir(b.root)
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	dead := 0
	for kill := range kills {
		for range 20 {
			d := daemondirtest.MakeDead(t, b.root, "dead"+strconv.Itoa(dead), 2*time.Hour)
			daemondirtest.WriteFile(t, filepath.Join(d.Path(), "log"), "text")
			daemondirtest.MakeOld(t, d.Path(), 2*time.Hour)
			dead++
		}
		before := count()
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledAtRandom$")
		cmd.Env = append(os.Environ(), helperVar+"="+b.root)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Once in five anywhere from its start on; else while it removes.
		if kill%5 == 0 {
			time.Sleep(time.Duration(kill%40) * time.Millisecond)
		} else {
			daemondirtest.Eventually(t, "it removes", func() bool { return count() < before })
			time.Sleep(time.Duration(kill%40) * 50 * time.Microsecond)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		hidden, _ := filepath.Glob(filepath.Join(b.root, daemondir.QuarantinePrefix+"*"))
		for _, path := range hidden {
			halfDone[path] = true
		}
	}
	b.sweep()
	b.sweep() // what was put back is judged anew
	entries, _ := os.ReadDir(b.root)
	if len(entries) != len(live) {
		t.Errorf("%d dirs are left, want the %d live ones: %v", len(entries), len(live), entries)
	}
	for _, d := range live {
		for _, file := range []string{d.Name, d.Name + ".daemon.json", "daemon.pid"} {
			if _, err := os.Stat(filepath.Join(d.Path(), file)); err != nil {
				t.Errorf("a live daemon lost %s", file)
			}
		}
		if e := entryOf(t, d); e.Problem != daemondir.ProblemNone {
			t.Errorf("a live daemon's sidecar was damaged: %s", e.Problem)
		}
	}
	t.Logf("%d kills, %d dead dirs, %d removals caught half done", kills, dead, len(halfDone))
}

// sweepForEver is what the killed process of TestKilledAtRandom does.
func sweepForEver(root string) {
	for {
		reg := registry.New(root)
		w, err := reg.Write()
		if err != nil {
			panic(err)
		}
		entries, _ := os.ReadDir(root)
		for _, entry := range entries {
			if e, err := daemondir.Read(root, entry.Name()); err == nil {
				w.Put(e, time.Time{})
			}
		}
		c, err := New(Options{Registry: reg, Log: zerolog.Nop(), StaleAfter: time.Hour})
		if err != nil {
			panic(err)
		}
		if _, err := c.Sweep(context.Background(), nil); err != nil {
			panic(err)
		}
	}
}

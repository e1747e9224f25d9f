package integration

// A storm: spawns, respawns, kills, zombies and cleanups of many daemons at once.

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// stormStaleAfter is short, so that removals fall among the spawns. A spawn that is
// held up for longer, between its sidecar and its process, may lose its dir by rule.
const stormStaleAfter = 300 * time.Millisecond

// seedOr returns the seed that is given, or else usual.
func seedOr(t *testing.T, usual uint64) uint64 {
	t.Helper()
	given := os.Getenv("GCTEST_SEED")
	if given == "" {
		return usual
	}
	seed, err := strconv.ParseUint(given, 10, 64)
	if err != nil {
		t.Fatalf("GCTEST_SEED: %v", err)
	}
	return seed
}

// storm is what the generator knows to be true of its names.
type storm struct {
	*spawner
	failed int // spawns that a removal refused, and that were done again

	mu     sync.Mutex         // guards all below
	living map[string]*daemon // by name; a name that is not in here is dead or was never used
	killed map[int]time.Time  // when each process was about to be killed, by pid
	harm   []error            // dirs of live daemons that were not as their spawner left them
}

// step does one thing to one name, which is this worker's alone.
func (st *storm) step(rng *rand.Rand, name string) {
	st.mu.Lock()
	d := st.living[name]
	st.mu.Unlock()
	switch p := rng.IntN(100); {
	case p < 35:
		if d != nil {
			st.kill(d, rng.IntN(3) == 0)
		}
		st.respawn(name)
	case p < 55 && d != nil:
		st.kill(d, rng.IntN(2) == 0)
	case p < 65 && d == nil:
		// A spawn that fails before it has a process. The dir may be hit by a removal.
		now := time.Now()
		_, err := st.begin(name, daemondirtest.Sidecar(now, time.Time{}))
		st.noteSpawn(name, now, err)
	case p < 75:
		// By somebody else; a live daemon stays behind without a dir, for a while.
		st.check(d)
		st.note(st.cleanup(name))
		if d != nil {
			time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
			st.killUnchecked(d, false)
		}
	case p < 80 && d != nil:
		// A log in the dir, as daemons keep it.
		st.note(os.WriteFile(d.dir+"/out.log", []byte(secret), 0o644))
	default:
		time.Sleep(time.Duration(rng.IntN(120)) * time.Millisecond)
	}
}

// respawn spawns name. A spawn that runs into the removal of the dir it found fails as
// the real one does; its caller does it again.
func (st *storm) respawn(name string) {
	for {
		now := time.Now()
		d, err := st.try(name, daemondirtest.Sidecar(now, now))
		if err == nil {
			st.mu.Lock()
			st.living[name] = d
			st.mu.Unlock()
			return
		}
		st.noteSpawn(name, now, err)
		if !errors.Is(err, fs.ErrNotExist) {
			return
		}
		st.mu.Lock()
		st.failed++
		st.mu.Unlock()
	}
}

// noteSpawn takes down the error of a spawn that began at now. Once its sidecar is written,
// its dir may not vanish before it is stale again.
func (st *storm) noteSpawn(name string, now time.Time, err error) {
	refused := (daemondirtest.Dir{Root: st.root, Name: name}).Refused(err)
	if errors.Is(err, fs.ErrNotExist) && !refused && time.Since(now) < stormStaleAfter {
		err = fmt.Errorf("a spawn of %s lost its dir after its sidecar was written: %v", name, err)
	}
	st.note(err)
}

// note takes down what must not happen; that a dir vanishes under a spawn or a cleanup
// may.
func (st *storm) note(err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		st.mu.Lock()
		st.harm = append(st.harm, err)
		st.mu.Unlock()
	}
}

// check notes it if the dir of the living d is not as its spawner left it. A removal
// that is called off at the last look has it out of sight for a moment.
func (st *storm) check(d *daemon) {
	if d == nil {
		return
	}
	err := d.complete()
	for deadline := time.Now().Add(time.Second); err != nil && time.Now().Before(deadline); err = d.complete() {
		time.Sleep(5 * time.Millisecond)
	}
	if err != nil {
		st.mu.Lock()
		st.harm = append(st.harm, fmt.Errorf("the dir of %s, pid %d, alive for %v: %w", d.name, d.pid, time.Since(d.closed), err))
		st.mu.Unlock()
	}
}

// kill ends d, after a last look at its dir.
func (st *storm) kill(d *daemon, zombie bool) {
	st.check(d)
	st.killUnchecked(d, zombie)
}

func (st *storm) killUnchecked(d *daemon, zombie bool) {
	st.mu.Lock()
	delete(st.living, d.name)
	st.killed[d.pid] = time.Now()
	st.mu.Unlock()
	if zombie {
		st.note(d.abandon())
	} else {
		d.kill()
	}
}

// mustBecomeTrue waits until list shows the living, alive, and nobody else.
func (st *storm) mustBecomeTrue(t *testing.T, root string) {
	t.Helper()
	var rows map[string]object
	daemondirtest.Eventually(t, "list shows the living and nobody else", func() bool {
		rows = listJSON(t, root)
		return len(rows) <= len(st.living)
	})
	for name, d := range st.living {
		row, ok := rows[name]
		if !ok {
			t.Errorf("%s, pid %d, is not listed", name, d.pid)
			continue
		}
		if row.text(t, "state") != "alive" || row.number(t, "pid") != int64(d.pid) {
			t.Errorf("%s is listed as %s with pid %s, but lives as %d", name, row["state"], row["pid"], d.pid)
		}
	}
	daemondirtest.EventuallyNone(t, func() string { // the last removal may be under way
		left, err := os.ReadDir(root)
		noError(t, err)
		for _, entry := range left {
			if st.living[entry.Name()] == nil {
				return fmt.Sprintf("left in the root: %q", entry.Name())
			}
		}
		return ""
	})
}

// mustBeTold waits until the watch's own view, by its log and its sweeps, is the truth.
func (st *storm) mustBeTold(t *testing.T, w *watchProcess) {
	t.Helper()
	n := int64(len(st.living))
	daemondirtest.Eventually(t, "a sweep finds the living and nobody else", func() bool {
		e := w.next("sweep.done", "")
		return e.number("checked") == n && e.number("alive") == n
	})
	follow(w).mustReach(t, st.root, func(pid int) bool {
		for _, d := range st.living {
			if d.pid == pid {
				return true
			}
		}
		return false
	})
}

// mustBeUnharmed fails the test if a live daemon's dir was ever touched.
func (st *storm) mustBeUnharmed(t *testing.T, w *watchProcess) {
	t.Helper()
	for _, err := range st.harm {
		t.Error(err)
	}
	for _, d := range st.living {
		if err := d.complete(); err != nil {
			t.Errorf("the dir of %s: %v", d.name, err)
		}
	}
	for _, e := range w.all("daemon.removed", "") {
		pid := int(e.number("pid"))
		if pid < 0 {
			continue // of a spawn that never had a process
		}
		killed, ok := st.killed[pid]
		if !ok {
			t.Errorf("the dir of a process that lives was removed: %s", e.line)
		} else if e.time.Before(killed.Truncate(time.Millisecond)) {
			t.Errorf("its process was killed only at %v: %s", killed, e.line)
		}
	}
}

package prune

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir/daemondirtest"
)

// Respawns that race removals: whatever the moment, a spawn that succeeded has its whole
// dir. A spawner whose dir is renamed between its mkdir and its open of the sidecar gets
// "no such file"; how often is counted. At any later step that is harm. The long form is
// behind GCTEST_LONG.
//
// Whoever waits for the lease is found twice, after the rename and before the sidecar goes, and
// either look is enough for what a spawn wrote. TestPutBackForAWaitingSpawner needs each of them.
func TestRespawnRacesRemoval(t *testing.T) {
	rounds := 300
	if os.Getenv("GCTEST_LONG") != "" {
		rounds = 10_000
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip(err)
	}
	root := t.TempDir()
	shared := filepath.Join(root, "shared")
	if err := daemondirtest.CopyProgram(shared, sleep); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var harmed, refused, removed, kept int
	// Where in the removal's time, about 200 us here, the spawn begins is spread evenly.
	spread := 300 * time.Microsecond
	dirs := make([]daemondirtest.Dir, rounds)
	for round := range dirs {
		d := daemondirtest.MakeDead(t, root, "d"+strconv.Itoa(round), 2*time.Hour)
		daemondirtest.WriteFile(t, filepath.Join(d.Path(), d.Name), "old trampoline")
		dirs[round] = d
	}
	time.Sleep(3 * fsys.Tick) // so that no removal looks for users once more
	m := newTestRemover(t, root, false)
	for round, d := range dirs {
		e := entryOf(t, d)
		if time.Since(m.usersAt) > time.Second/2 { // before the removal would do it itself
			if err := m.findUsers(); err != nil {
				t.Fatal(err)
			}
		}
		gone := make(chan removal)
		go func() { gone <- m.remove(e) }()
		for wait, began := time.Duration(rng.Int64N(int64(spread))), time.Now(); time.Since(began) < wait; {
		}
		cmd, err := respawn(d, shared)
		r := <-gone
		if r.kept == "" {
			removed++
		} else {
			kept++
		}
		switch {
		case d.Refused(err):
			refused++
		case portable && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist)):
			// Without a lease it does not wait: its dir is away at any step, and back when it
			// links what it could not unlink.
			refused++
		case errors.Is(err, fs.ErrNotExist):
			harmed++
			t.Errorf("round %d: %v, after its sidecar was written; the removal: %+v", round, err, r)
		case err != nil:
			t.Fatal(err)
		case !complete(t, d, cmd):
			harmed++
			t.Errorf("round %d: a live daemon's dir was harmed; the removal: %+v", round, r)
		}
		if cmd != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		_ = os.RemoveAll(d.Path())
	}
	t.Logf("%d respawns against removals: %d removals came first, %d were called off; %d live dirs harmed, %d spawners refused",
		rounds, removed, kept, harmed, refused)
	if kept == 0 || removed == 0 {
		t.Error("there was no race")
	}
}

// respawn plays the spawner's protocol in its order. Its error is the first step's that
// fails.
func respawn(d daemondirtest.Dir, trampoline string) (*exec.Cmd, error) {
	if err := d.Mkdir(); err != nil {
		return nil, err
	}
	now := time.Now()
	if err := d.WriteSidecar(daemondirtest.Sidecar(now, now)); err != nil {
		return nil, err
	}
	exe := filepath.Join(d.Path(), d.Name)
	_ = os.Remove(exe)
	if err := os.Link(trampoline, exe); err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, "1000")
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return cmd, d.WritePID(strconv.Itoa(cmd.Process.Pid))
}

// complete says whether a dir holds all that its spawner put there.
func complete(t *testing.T, d daemondirtest.Dir, cmd *exec.Cmd) bool {
	pid, err1 := os.ReadFile(d.PIDFile())
	_, err2 := os.Stat(filepath.Join(d.Path(), d.Name))
	e := entryOf(t, d)
	return err1 == nil && err2 == nil && string(pid) == strconv.Itoa(cmd.Process.Pid) &&
		e.SpawnedAt.Known && e.SpawnedAt.MS > uint64(time.Now().Add(-time.Hour).UnixMilli())
}

package integration

// Respawns in dirs that are being removed at that very moment.

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

const (
	// A round has one dir that is due, and one spawner who comes for it.
	respawnRounds, respawnRoundsLong = 60, 10_000
	// The daemons of so many rounds live at once.
	respawnBatch = 20
	// The spawns are aimed at the renaming, which comes some 100 us after the first step of a
	// removal that can be noticed: one that came before it has the next one wait for longer,
	// one that came after it has it wait for less. So three of four come after it, on a busy
	// machine too. They are spread by so much to both sides.
	respawnLonger, respawnShorter = 30 * time.Microsecond, 10 * time.Microsecond
	respawnSpread                 = 100 * time.Microsecond
	respawnAim                    = 300 * time.Microsecond // at first
)

// respawns is what came of the rounds.
type respawns struct {
	*spawner
	nursery string // where dirs are made before they appear in the root
	w       *watchProcess
	events  *entryEvents // of the root
	rng     *rand.Rand
	aim     time.Duration

	refused int // spawns that failed at the open of the sidecar, and were done again
	putBack int // dirs that were renamed, and renamed back
	removed int // old dirs
	kept    map[string]int
	living  []respawned // in this batch
}

// respawned is a daemon, and the sidecar that its spawner wrote.
type respawned struct {
	*daemon
	text []byte
}

// Whatever the moment at which a spawner comes into a removal: if it gets past the open of
// its sidecar, it has its whole dir. If it does not, it is told, and may try again.
func TestRespawnsAgainstRemovals(t *testing.T) {
	t.Parallel()
	rounds, long := respawnRounds, os.Getenv("GCTEST_LONG") != ""
	if long {
		rounds = respawnRoundsLong
	}
	seed := seedOr(t, rand.Uint64())
	root := runtimeRoot(t)
	r := &respawns{spawner: newSpawner(t, root), nursery: filepath.Join(filepath.Dir(root), "nursery"),
		rng: rand.New(rand.NewPCG(seed, 0)), kept: make(map[string]int), aim: respawnAim}
	r.events = watchEntries(t, root, unix.IN_OPEN|unix.IN_MOVED_TO)
	r.w = startWatch(t, root, "--stale-after", "1h", "--sweep-interval", "10ms")
	r.w.next("root.found", "")
	began := time.Now()
	// The moment between the two renamings is hit about once in 100 rounds.
	raced := func() bool { return r.removed >= rounds/4 && r.calledOff() >= rounds/20 && (!long || r.putBack > 0) }
	round := 0
	for ; ; round++ {
		if round%respawnBatch == 0 {
			r.endBatch()
			// On a busy machine a spawner may be late for many removals: then there are more.
			if round >= rounds && (raced() || time.Since(began) > patience) {
				break
			}
		}
		r.race(fmt.Sprintf("d%d", round))
	}
	r.w.stop(syscall.SIGTERM)
	r.account()
	t.Logf("%d respawns against removals in %v: %d old dirs removed, %d spawners refused; removals called off: %v, %d of them by renaming back",
		round, time.Since(began).Round(time.Second), r.removed, r.refused, r.kept, r.putBack)
	if !raced() {
		t.Error("there was hardly a race")
	}
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("left in the root: %v, %v", left, err)
	}
	if t.Failed() {
		t.Logf("again with GCTEST_SEED=%d", seed)
	}
}

// race has a dir removed and spawned into.
func (r *respawns) race(name string) {
	old := daemondirtest.MakeDead(r.t, r.nursery, name, 2*time.Hour)
	noError(r.t, os.Link(r.image, filepath.Join(old.Path(), name)))
	for found := true; found; { // of the rounds before
		_, found = r.events.next(0)
	}
	noError(r.t, os.Rename(old.Path(), r.dir(name)))
	for {
		e, ok := r.events.next(patience)
		if !ok {
			r.t.Fatalf("%s is not removed", name)
		}
		// Readers open it as a mere path, of which nobody is told; a removal opens it to lock it.
		if e.name == name && e.mask&unix.IN_OPEN != 0 {
			break
		}
	}
	wait := r.aim + time.Duration(r.rng.Int64N(int64(2*respawnSpread))) - respawnSpread
	for began := time.Now(); time.Since(began) < wait; {
	}
	r.respawn(name)
	away := false
	for {
		e, ok := r.events.next(0)
		if !ok {
			break
		}
		switch {
		case e.mask&unix.IN_MOVED_TO == 0:
		case e.name == daemondir.QuarantinePrefix+name:
			away = true
		case e.name == name && away:
			away = false
			r.putBack++
		}
	}
	if away {
		r.aim = max(r.aim-respawnShorter, 0)
	} else {
		r.aim += respawnLonger
	}
}

// respawn is the spawner, who comes again if he is refused.
func (r *respawns) respawn(name string) {
	for {
		now := time.Now()
		d := respawned{text: daemondirtest.Sidecar(now, now)}
		var err error
		if d.daemon, err = r.try(name, d.text); err == nil {
			r.living = append(r.living, d)
			r.check(d)
			break
		}
		if !(daemondirtest.Dir{Root: r.root, Name: name}).Refused(err) {
			r.t.Errorf("harm: %s: after its sidecar was opened: %v", name, err)
			break
		}
		r.refused++
	}
}

// check fails the test unless the living daemon d has all that its spawner gave it.
func (r *respawns) check(d respawned) {
	text, err := os.ReadFile(r.sidecar(d.name))
	if !bytes.Equal(lastSeen.ReplaceAll(text, []byte("$1")), lastSeen.ReplaceAll(d.text, []byte("$1"))) {
		err = errors.Join(err, fmt.Errorf("its sidecar is another one, of %d bytes", len(text)))
	}
	image, err1 := os.Stat(r.image)
	link, err2 := os.Stat(filepath.Join(d.dir, d.name))
	if !os.SameFile(image, link) {
		err = errors.Join(err, fmt.Errorf("its trampoline is another file: %v, %v", err1, err2))
	}
	if err = errors.Join(err, d.complete()); err != nil {
		r.t.Errorf("harm: %s, which lives as %d: %v", d.name, d.pid, err)
	}
}

// endBatch checks again all that live, when they are known to and after a sweep of them,
// and ends them.
func (r *respawns) endBatch() {
	for _, d := range r.living {
		for r.w.next("daemon.live", d.name).number("pid") != int64(d.pid) {
		}
	}
	r.w.sweeps(1)
	for _, d := range r.living {
		r.check(d)
		if err := d.cmd.Process.Signal(syscall.Signal(0)); err != nil {
			r.t.Errorf("%s has not lived on: %v", d.name, err)
		}
		d.kill()
		noError(r.t, r.cleanup(d.name))
	}
	r.living = nil
	r.account()
}

// account counts what was said of removals.
func (r *respawns) account() {
	for _, e := range r.w.takeLog() {
		switch e.event {
		case "daemon.removed":
			r.removed++
		case "daemon.kept":
			r.kept[e.reason]++
		}
	}
}

// calledOff is the number of removals that were because of the spawner.
func (r *respawns) calledOff() (n int) {
	for reason, times := range r.kept {
		if strings.Contains("respawned in_use changed", reason) {
			n += times
		}
	}
	return n
}

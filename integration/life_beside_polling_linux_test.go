package integration

// The program is not alone in a root: beside it the daemon manager's own collector may
// run, spawners respawn, others clean up, and a second copy may be started.

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// company is a storm beside a polling collector.
type company struct {
	*storm
	polling *pollingCollector
	passes  int
	did     pollingStats
	locks   sync.Map // name -> *sync.Mutex: one at a time of spawner and polling collector, if polite
	polite  bool

	counts   sync.Mutex     // guards rewrites
	rewrites map[string]int // by name: how often a spawner wrote, or may have written, the sidecar
}

// lock returns what the spawner of name and a polite polling collector take turns by.
func (c *company) lock(name string) *sync.Mutex {
	lock, _ := c.locks.LoadOrStore(name, new(sync.Mutex))
	return lock.(*sync.Mutex)
}

// enter lets the polling collector in, unless it is polite and the spawner is at name.
func (c *company) enter(name string) (leave func()) {
	if !c.polite {
		return func() {}
	}
	if lock := c.lock(name); lock.TryLock() {
		return lock.Unlock
	}
	return nil
}

// act does one thing to one name.
func (c *company) act(rng *rand.Rand, name string) {
	lock := c.lock(name)
	lock.Lock()
	defer lock.Unlock()
	c.mu.Lock()
	d := c.living[name]
	c.mu.Unlock()
	if d != nil && c.polite {
		// Nobody but the program can have touched it.
		c.note(c.intact(d))
		c.note(c.rewrite(d))
	}
	c.counts.Lock()
	c.rewrites[name]++
	c.counts.Unlock()
	c.step(rng, name)
}

// intact returns an error unless the sidecar of d is that of its last spawn: valid, and
// of that time.
func (c *company) intact(d *daemon) error {
	text, err := os.ReadFile(c.sidecar(d.name))
	for deadline := time.Now().Add(time.Second); errors.Is(err, fs.ErrNotExist) && time.Now().Before(deadline); {
		// A removal that is called off at the last look has it out of sight for a moment.
		time.Sleep(time.Millisecond)
		text, err = os.ReadFile(c.sidecar(d.name))
	}
	if err != nil {
		return fmt.Errorf("the sidecar of %s, pid %d: %v", d.name, d.pid, err)
	}
	said, ok := decodeObject(text)
	spawnedAt, known := millis(said["spawned_at_unix_ms"])
	if !ok || !known || len(said) != 7 {
		return fmt.Errorf("the sidecar of %s, pid %d, is torn: %d bytes", d.name, d.pid, len(text))
	}
	// A spawn takes milliseconds, two of one name follow each other by more than that.
	if spawnedAt > uint64(d.closed.UnixMilli()) || !c.since(d, spawnedAt) {
		return fmt.Errorf("the sidecar of %s, pid %d, is of another spawn, at %d", d.name, d.pid, spawnedAt)
	}
	return nil
}

// lastSeen is the value that everybody may change.
var lastSeen = regexp.MustCompile(`("last_seen_unix_ms": )\d+`)

// rewrite writes the sidecar of d as a spawner does, each time another one, and returns
// an error if what it wrote did not stay.
func (c *company) rewrite(d *daemon) error {
	path := c.sidecar(d.name)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	said, _ := decodeObject(text)
	spawnedAt, _ := millis(said["spawned_at_unix_ms"])
	for i := range 30 {
		wrote := sidecarText(c.t, time.UnixMilli(int64(spawnedAt)), time.Now())
		wrote = bytes.Replace(wrote, []byte("/srv/"), []byte("/srv/"+strings.Repeat("x", i%7)), 1)
		if err := os.WriteFile(path, wrote, 0o644); err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.Equal(lastSeen.ReplaceAll(text, []byte("$1")), lastSeen.ReplaceAll(wrote, []byte("$1"))) {
			return fmt.Errorf("an update of the sidecar of %s, pid %d, was lost: %d bytes, wrote %d", d.name, d.pid, len(text), len(wrote))
		}
	}
	return nil
}

// since says whether the last process of that name was killed before spawnedAt.
func (c *company) since(d *daemon, spawnedAt uint64) bool {
	c.spawner.mu.Lock()
	defer c.spawner.mu.Unlock()
	for _, other := range c.all {
		if other.name == d.name && other.pid != d.pid && !other.killed.IsZero() &&
			other.killed.Before(d.closed) && uint64(other.killed.UnixMilli()) > spawnedAt {
			return false
		}
	}
	return true
}

// Beside the manager's own collector, with passes back to back, nothing may be lost by
// us, nobody may refresh what the other has just refreshed for ever, and the log must
// not fill with what is nobody's fault.
//
// The polling collector loses updates and dirs itself. So in one variant it only
// refreshes and takes turns with the spawners: what is lost then is lost by us. In the
// other it does as it likes, and what we do and say must be consistent with that.
func TestBesidePollingCollector(t *testing.T) {
	t.Parallel()
	for name, polite := range map[string]bool{"it only refreshes": true, "it removes too": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			besidePolling(t, polite)
		})
	}
}

func besidePolling(t *testing.T, polite bool) {
	const workers, names = 3, 6
	interval := 5 * time.Millisecond // often, so that we collide with each of them
	length := 2 * time.Second
	if os.Getenv("RUNTIMEGC_LONG") != "" {
		length, interval = 2*time.Minute, 50*time.Millisecond
	}
	seed := uint64(7)
	if given := os.Getenv("RUNTIMEGC_SEED"); given != "" {
		seed, _ = strconv.ParseUint(given, 10, 64)
	}
	root := runtimeRoot(t)
	st := &storm{spawner: newSpawner(t, root), living: make(map[string]*daemon), killed: make(map[int]time.Time)}
	c := &company{storm: st, polite: polite, rewrites: make(map[string]int)}
	its := stormStaleAfter
	if polite {
		its = time.Hour
	}
	c.polling = newPollingCollector(root, its)
	c.polling.enter = c.enter

	began := time.Now()
	w := startWatch(t, root, "--stale-after", stormStaleAfter.String(), "--sweep-interval", interval.String())
	w.next("root.found", "")
	deadline := time.Now().Add(length)
	var running, polling sync.WaitGroup
	for worker := range workers {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(worker)))
			for time.Now().Before(deadline) {
				c.act(rng, fmt.Sprintf("w%d-%d", worker, rng.IntN(names)))
			}
		})
	}
	over := make(chan struct{})
	defer polling.Wait()
	stopPolling := sync.OnceFunc(func() { close(over) })
	defer stopPolling()
	polling.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
			}
			did, err := c.polling.pass(time.Now())
			if err != nil {
				st.note(err)
			}
			c.passes++
			c.did.scanned += did.scanned
			c.did.removed += did.removed
			c.did.refreshed += did.refreshed
		}
	})
	running.Wait()
	w.sweeps(20) // at rest now, but for the two collectors
	stopPolling()
	polling.Wait()

	if polite {
		st.mustBecomeTrue(t, root)
		st.mustBeTold(t, w)
	} else {
		c.mustSettle(t, w)
	}
	w.stop(syscall.SIGTERM)
	c.mustNotFight(t, w, time.Since(began)/interval)
	if polite {
		st.mustBeUnharmed(t, w)
		for name, n := range c.polling.unusable {
			t.Errorf("the sidecar of %s was torn at %d passes", name, n)
		}
		for _, d := range st.living {
			if err := c.intact(d); err != nil {
				t.Error(err)
			}
		}
	} else {
		c.mustNotRemoveTheLiving(t, w)
	}
	t.Logf("%d spawns, %d hit by a removal; %d living; %d passes: %+v; we removed %d, refreshed %d, said %d warnings",
		len(st.killed)+len(st.living), st.failed, len(st.living), c.passes, c.did,
		len(w.all("daemon.removed", "")), len(w.all("sidecar.refreshed", "")), len(warnings(w)))
	if t.Failed() {
		t.Logf("again with RUNTIMEGC_SEED=%d", seed)
	}
}

// warnings returns the warnings by daemon.
func warnings(w *watchProcess) map[string][]event {
	told := make(map[string][]event)
	for _, e := range w.all("", "") {
		if e.level == "warn" || e.level == "error" {
			told[e.daemon] = append(told[e.daemon], e)
		}
	}
	return told
}

// mustNotFight checks that a refresh or a removal is one of a sweep's, at most one for
// each live daemon, and not an answer to what the other has done; and that a daemon is
// warned of at most once for each change of its sidecar.
func (c *company) mustNotFight(t *testing.T, w *watchProcess, ticks time.Duration) {
	t.Helper()
	sweeps := w.all("sweep.done", "")
	if len(sweeps) > int(ticks)+2 { // one when the root was found, one may be under way
		t.Errorf("%d sweeps in %d intervals", len(sweeps), ticks)
	}
	var refreshed int64
	for _, e := range sweeps {
		if e.number("refreshed") > e.number("alive") {
			t.Errorf("more refreshed than live: %s", e.line)
		}
		if e.number("failed") > 0 {
			t.Errorf("something was refused: %s", e.line)
		}
		refreshed += e.number("refreshed")
	}
	if n := len(w.all("sidecar.refreshed", "")); int64(n) != refreshed {
		t.Errorf("%d refreshes, %d in sweeps", n, refreshed)
	}
	for name, told := range warnings(w) {
		changes := c.rewrites[name] + c.polling.written[name]
		if c.polite || len(told) > changes || name == "" {
			t.Errorf("%d warnings of %q, which was written %d times, the last: %s", len(told), name, changes, told[len(told)-1].line)
		}
	}
	for _, e := range w.all("sidecar.invalid", "") {
		if strings.HasPrefix(e.reason, "sidecar_") && c.polling.unusable[e.daemon] == 0 {
			t.Errorf("its sidecar was valid at %d passes: %s", c.passes, e.line)
		}
	}
}

// mustSettle waits until what list says is the truth, which the polling collector may
// have made a sad one: live daemons without a dir, dirs with a torn sidecar.
func (c *company) mustSettle(t *testing.T, w *watchProcess) {
	t.Helper()
	eventually(t, "list shows the living, the torn, and nobody else", func() bool {
		entries, err := os.ReadDir(c.root)
		if err != nil {
			t.Fatal(err)
		}
		rows := listJSON(t, c.root)
		settled := len(rows) == len(entries)
		for name, row := range rows {
			state := row.text(t, "state")
			d := c.living[name]
			switch {
			case state == "alive" && d != nil && row.number(t, "pid") == int64(d.pid):
			case state == "invalid": // torn, or without a sidecar
			default:
				settled = false
			}
		}
		return settled
	})
	n := -1
	eventually(t, "the watch knows what is there", func() bool {
		entries, err := os.ReadDir(c.root)
		if err != nil {
			t.Fatal(err)
		}
		n = len(entries)
		return w.next("sweep.done", "").number("checked") == int64(n)
	})
	// Whom the last that was told of is not gone, is there.
	last := make(map[string]string)
	for _, e := range w.all("", "") {
		switch e.event {
		case "daemon.added", "daemon.live", "daemon.exited", "daemon.gone", "daemon.removed":
			last[e.daemon] = e.event
		}
	}
	for name, event := range last {
		_, err := os.Lstat(c.dir(name))
		if gone := event == "daemon.gone" || event == "daemon.removed"; gone != (err != nil) {
			t.Errorf("the last that was told of %s is %s, and its dir: %v", name, event, err)
		}
	}
}

// mustNotRemoveTheLiving checks our removals, whatever the other has done.
func (c *company) mustNotRemoveTheLiving(t *testing.T, w *watchProcess) {
	t.Helper()
	for _, e := range w.all("daemon.removed", "") {
		pid := int(e.number("pid"))
		if pid < 0 {
			continue // its spawn failed, or its pid file was lost; nobody used it
		}
		if killed, ok := c.killed[pid]; !ok || e.time.Before(killed.Truncate(time.Millisecond)) {
			t.Errorf("the dir of a process that lived was removed: %s", e.line)
		}
	}
}

// A spawner truncates its sidecar and writes it: for up to 60 ms it is invalid. That is
// no news, not even while there is another one that stays invalid and is told of.
func TestInvalidForAMomentIsNotSaid(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	w := startWatch(t, root, "--sweep-interval", "1h")
	w.next("root.found", "")
	const moment = 100 * time.Millisecond
	tookLong := make(map[string]bool)
	s.leave("broken", []byte("{"), "")
	for i := 0; len(w.all("sidecar.invalid", "broken")) == 0 && i < 100; i++ {
		name := fmt.Sprintf("slow-%d", i)
		began := time.Now()
		s.leave(name, nil, "")
		w.next("daemon.added", name)
		for time.Since(began) < moment && len(w.all("sidecar.invalid", name)) == 0 {
			time.Sleep(5 * time.Millisecond)
		}
		s.leave(name, sidecarText(t, time.Now(), time.Time{}), "")
		tookLong[name] = time.Since(began) > 5*moment
	}
	w.next("sidecar.invalid", "broken")
	w.stop(syscall.SIGTERM)
	for _, e := range w.all("sidecar.invalid", "") {
		if e.daemon != "broken" && !tookLong[e.daemon] {
			t.Errorf("it was invalid for %v: %s", moment, e.line)
		}
	}
}

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
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// besidePolling is a storm beside a polling collector.
type besidePolling struct {
	*storm
	polling *pollingCollector
	passes  int
	did     pollingStats
	locks   sync.Map // name -> *sync.Mutex: one at a time of spawner and polling collector, if polite
	polite  bool

	counts   sync.Mutex     // guards all below
	rewrites map[string]int // by name: how often a spawner wrote, or may have written, the sidecar
	slow     map[string]int // by name: how often that may have taken longer than slowWrite
}

// lock returns what the spawner of name and a polite polling collector take turns by.
func (b *besidePolling) lock(name string) *sync.Mutex {
	lock, _ := b.locks.LoadOrStore(name, new(sync.Mutex))
	return lock.(*sync.Mutex)
}

// enter lets the polling collector in, unless it is polite and the spawner is at name.
func (b *besidePolling) enter(name string) (leave func()) {
	if !b.polite {
		return func() {}
	}
	if lock := b.lock(name); lock.TryLock() {
		return lock.Unlock
	}
	return nil
}

// act does one thing to one name.
func (b *besidePolling) act(rng *rand.Rand, name string) {
	lock := b.lock(name)
	lock.Lock()
	defer lock.Unlock()
	b.mu.Lock()
	d := b.living[name]
	b.mu.Unlock()
	if d != nil && b.polite {
		// Nobody but the program can have touched it.
		b.note(b.intact(d))
		b.note(b.rewrite(d))
	}
	b.counts.Lock()
	b.rewrites[name]++
	b.counts.Unlock()
	began := time.Now()
	b.step(rng, name)
	b.timeWrite(name, began)
}

// timeWrite takes down how long what wrote the sidecar of name took, which began then.
func (b *besidePolling) timeWrite(name string, began time.Time) {
	if time.Since(began) > slowWrite {
		b.counts.Lock()
		b.slow[name]++
		b.counts.Unlock()
	}
}

// intact returns an error unless the sidecar of d is that of its last spawn: valid, and
// of that time.
func (b *besidePolling) intact(d *daemon) error {
	text, err := os.ReadFile(b.sidecar(d.name))
	for deadline := time.Now().Add(time.Second); errors.Is(err, fs.ErrNotExist) && time.Now().Before(deadline); {
		// A removal that is called off at the last look has it out of sight for a moment.
		time.Sleep(time.Millisecond)
		text, err = os.ReadFile(b.sidecar(d.name))
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
	if spawnedAt > uint64(d.closed.UnixMilli()) || !b.since(d, spawnedAt) {
		return fmt.Errorf("the sidecar of %s, pid %d, is of another spawn, at %d", d.name, d.pid, spawnedAt)
	}
	return nil
}

// lastSeen is the value that everybody may change.
var lastSeen = regexp.MustCompile(`("last_seen_unix_ms": )\d+`)

// rewrite writes the sidecar of d as a spawner does, each time another one, and returns
// an error if what it wrote did not stay.
func (b *besidePolling) rewrite(d *daemon) error {
	path := b.sidecar(d.name)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	said, _ := decodeObject(text)
	spawnedAt, _ := millis(said["spawned_at_unix_ms"])
	for i := range 30 {
		wrote := daemondirtest.Sidecar(time.UnixMilli(int64(spawnedAt)), time.Now())
		wrote = bytes.Replace(wrote, []byte("/srv/"), []byte("/srv/"+strings.Repeat("x", i%7)), 1)
		began := time.Now()
		if err := os.WriteFile(path, wrote, 0o644); err != nil {
			return err
		}
		b.timeWrite(d.name, began)
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
func (b *besidePolling) since(d *daemon, spawnedAt uint64) bool {
	b.spawner.mu.Lock()
	defer b.spawner.mu.Unlock()
	for _, other := range b.all {
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
			runBesidePolling(t, polite)
		})
	}
}

func runBesidePolling(t *testing.T, polite bool) {
	const workers, names = 3, 6
	interval := 5 * time.Millisecond // often, so that we collide with each of them
	length := time.Second
	if os.Getenv("GCTEST_LONG") != "" {
		length, interval = 2*time.Minute, 50*time.Millisecond
	}
	seed := seedOr(t, 7)
	root := runtimeRoot(t)
	st := &storm{spawner: newSpawner(t, root), living: make(map[string]*daemon), killed: make(map[int]time.Time)}
	b := &besidePolling{storm: st, polite: polite, rewrites: make(map[string]int), slow: make(map[string]int)}
	its := stormStaleAfter
	if polite {
		its = time.Hour
	}
	b.polling = newPollingCollector(root, its)
	b.polling.enter = b.enter

	began := time.Now()
	w := startWatch(t, root, "--stale-after", stormStaleAfter.String(), "--sweep-interval", interval.String())
	w.next("root.found", "")
	deadline := time.Now().Add(length)
	var running, polling sync.WaitGroup
	for worker := range workers {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(worker)))
			for time.Now().Before(deadline) {
				b.act(rng, fmt.Sprintf("w%d-%d", worker, rng.IntN(names)))
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
			did, err := b.polling.pass(time.Now())
			if err != nil {
				st.note(err)
			}
			b.passes++
			b.did.scanned += did.scanned
			b.did.removed += did.removed
			b.did.refreshed += did.refreshed
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
		b.mustSettle(t, w)
	}
	w.stop(syscall.SIGTERM)
	b.mustNotFight(t, w, time.Since(began)/interval)
	if polite {
		st.mustBeUnharmed(t, w)
		for name, n := range b.polling.unusable {
			t.Errorf("the sidecar of %s was torn at %d passes", name, n)
		}
		for _, d := range st.living {
			if err := b.intact(d); err != nil {
				t.Error(err)
			}
		}
	} else {
		b.mustNotRemoveTheLiving(t, w)
	}
	t.Logf("%d spawns, %d hit by a removal; %d living; %d passes: %+v; we removed %d, refreshed %d, said %d warnings",
		len(st.killed)+len(st.living), st.failed, len(st.living), b.passes, b.did,
		len(w.all("daemon.removed", "")), len(w.all("sidecar.refreshed", "")), len(warnings(w)))
	if t.Failed() {
		t.Logf("again with GCTEST_SEED=%d", seed)
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
func (b *besidePolling) mustNotFight(t *testing.T, w *watchProcess, ticks time.Duration) {
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
	// The rest are exits, each recorded once at most, and those of a sweep that the end has cut
	// short, which is not logged.
	n, exits, cut := int64(len(w.all("sidecar.refreshed", ""))), int64(len(w.all("daemon.exited", ""))), int64(len(b.living))
	if n < refreshed || n > refreshed+exits+cut {
		t.Errorf("%d refreshes, %d in sweeps, %d exits, and %d live daemons at the end", n, refreshed, exits, cut)
	}
	for name, told := range warnings(w) {
		changes, slow := b.rewrites[name]+b.polling.written[name], b.slow[name]+b.polling.slow[name]
		if b.polite && len(told) > slow || len(told) > changes || name == "" {
			t.Errorf("%d warnings of %q, which was written %d times, %d of them slowly, the last: %s", len(told), name, changes, slow, told[len(told)-1].line)
		}
	}
	for _, e := range w.all("sidecar.invalid", "") {
		if strings.HasPrefix(e.reason, "sidecar_") && b.polling.unusable[e.daemon]+b.polling.slow[e.daemon]+b.slow[e.daemon] == 0 {
			t.Errorf("its sidecar was valid at %d passes: %s", b.passes, e.line)
		}
	}
}

// mustSettle waits until list shows what is on disk, which the polling collector may
// have left in a sad state: live daemons without a dir, dirs with a torn sidecar.
func (b *besidePolling) mustSettle(t *testing.T, w *watchProcess) {
	t.Helper()
	daemondirtest.Eventually(t, "list shows the living, the torn, and nobody else", func() bool {
		entries, err := os.ReadDir(b.root)
		if err != nil {
			t.Fatal(err)
		}
		rows := listJSON(t, b.root)
		settled := len(rows) == len(entries)
		for name, row := range rows {
			state := row.text(t, "state")
			d := b.living[name]
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
	daemondirtest.Eventually(t, "the watch knows what is there", func() bool {
		entries, err := os.ReadDir(b.root)
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
		_, err := os.Lstat(b.dir(name))
		if gone := event == "daemon.gone" || event == "daemon.removed"; gone != (err != nil) {
			t.Errorf("the last that was told of %s is %s, and its dir: %v", name, event, err)
		}
	}
}

// mustNotRemoveTheLiving checks our removals, whatever the other has done.
func (b *besidePolling) mustNotRemoveTheLiving(t *testing.T, w *watchProcess) {
	t.Helper()
	for _, e := range w.all("daemon.removed", "") {
		pid := int(e.number("pid"))
		if pid < 0 {
			continue // its spawn failed, or its pid file was lost; nobody used it
		}
		if killed, ok := b.killed[pid]; !ok || e.time.Before(killed.Truncate(time.Millisecond)) {
			t.Errorf("the dir of a process that lived was removed: %s", e.line)
		}
	}
}

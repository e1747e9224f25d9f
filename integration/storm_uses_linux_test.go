package integration

// Dirs of dead daemons that somebody uses, or nobody, in every way and at random.

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	usesTime, usesTimeLong = 6 * time.Second, time.Hour
	usesAtOnce             = 30
	usesStaleAfter         = 2 * time.Second
	// A dir that is used stays for whole sweeps; when nobody uses it any more it is gone after
	// so many.
	usesWholeSweeps, usesLastSweeps = 3, 20
)

// uses is one run.
type uses struct {
	t              *testing.T
	w              *watchProcess
	root, nursery  string
	alias, mount   string // a symlink to the root; where the root is mounted, for some
	image          string // of a trampoline
	cat, binary    string
	sweeps         atomic.Int64
	harmed, missed atomic.Int64 // used dirs that were removed or renamed; unused ones that stayed

	mu     sync.Mutex          // guards all below
	used   map[string]usedDir  // by name: it is known to be used now
	seen   map[string]string   // the kind of each use that was seen through, by the dir's name
	tally  map[string]useTally // by kind
	kept   map[string]string   // by name: the reason that was logged
	known  map[string]bool     // by name: daemon.added was logged
	logged map[string]int      // lines, by event
}

// usedDir is a dir that must stand where it stands.
type usedDir struct {
	plan
	ino uint64
}

// useTally counts the uses of a kind.
type useTally struct {
	done, early int
	late        int // the dir was due before its user was in place: nothing is to be said
}

// plan is the life of one dir.
type plan struct {
	kind   useKind
	name   string
	do     string
	below  string        // where in the dir, "" is directly in it
	early  bool          // it is used before it is in the root, and long due when it appears there
	lead   time.Duration // if not: for so long after it has appeared it is not due
	length time.Duration // for so long it is used when it is due
}

// newPlan makes one of that kind.
func newPlan(rng *rand.Rand, k useKind, name string) plan {
	p := plan{kind: k, name: name, early: rng.IntN(2) == 0 && k.early}
	if len(k.do) > 0 {
		p.do = k.do[rng.IntN(len(k.do))]
	}
	for depth := rng.IntN(4); depth > 0 && !k.direct; depth-- {
		p.below = filepath.Join(p.below, "sub")
	}
	p.lead = 150*time.Millisecond + time.Duration(rng.Int64N(int64(time.Second)))
	p.length = 300*time.Millisecond + time.Duration(rng.Int64N(int64(1500*time.Millisecond)))
	return p
}

func (p plan) String() string {
	return fmt.Sprintf("%s (%s: %s, in %q, early %v)", p.name, p.kind.name, p.do, p.below, p.early)
}

// A dir that is used in any way is never touched, and one that is not used, or not any
// more, is gone after a few sweeps.
func TestRandomUse(t *testing.T) {
	t.Parallel()
	length := usesTime
	if os.Getenv("GCTEST_LONG") != "" {
		length = usesTimeLong
	}
	if given := os.Getenv("GCTEST_USES"); given != "" {
		var err error
		if length, err = time.ParseDuration(given); err != nil {
			t.Fatalf("GCTEST_USES: %v", err)
		}
	}
	seed := seedOr(t, rand.Uint64())
	t.Logf("GCTEST_SEED=%d", seed)
	u := newUses(t)
	kinds := u.possibleUses(t)
	u.w = startWatch(t, u.root, "--stale-after", usesStaleAfter.String(), "--sweep-interval", "100ms")
	u.w.next("root.found", "")

	var beside, working sync.WaitGroup
	over := make(chan struct{})
	events := watchEntries(t, u.root, unix.IN_MOVED_FROM)
	for _, step := range []func(){func() { u.guardNames(events) }, u.guardPlaces, u.takeLog} {
		beside.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					step()
				}
			}
		})
	}
	deadline := time.Now().Add(length)
	for worker := range usesAtOnce {
		working.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(worker)))
			k := kinds[worker%len(kinds)] // each is tried
			var slow time.Duration
			for n := 0; slow > 0 || time.Now().Before(deadline); n++ {
				p := newPlan(rng, k, fmt.Sprintf("u%d-%d", worker, n))
				p.lead += slow
				if u.enough() {
					return
				}
				if u.live(p) {
					k, slow = kinds[rng.IntN(len(kinds))], 0
				} else {
					slow += 2 * time.Second
				}
			}
		})
	}
	working.Wait()
	close(over)
	beside.Wait()
	u.w.stop(syscall.SIGTERM)
	u.takeLog()
	u.report(kinds)
	if t.Failed() {
		t.Logf("again with GCTEST_SEED=%d", seed)
	}
}

func newUses(t *testing.T) *uses {
	t.Helper()
	root := runtimeRoot(t)
	beside := func(name string) string { return filepath.Join(filepath.Dir(root), name) }
	u := &uses{t: t, root: root, nursery: beside("nursery"), alias: beside("alias"), mount: beside("mount"),
		image: trampolineImage(t), binary: binary(t), used: make(map[string]usedDir), seen: make(map[string]string),
		tally: make(map[string]useTally), kept: make(map[string]string), known: make(map[string]bool), logged: make(map[string]int)}
	noError(t, os.Mkdir(u.nursery, 0o755))
	noError(t, os.Mkdir(u.mount, 0o755))
	noError(t, os.Symlink(root, u.alias))
	var err error
	if u.cat, err = exec.LookPath("cat"); err != nil {
		t.Skip(err)
	}
	return u
}

// live makes a dir, uses it, and sees it go. It returns false if the dir was due too early.
func (u *uses) live(p plan) bool {
	seen := ago(stale)
	if !p.early {
		seen = ago(usesStaleAfter - p.lead)
	}
	due := seen.Add(usesStaleAfter)
	made, err := u.make(p, seen)
	if err != nil {
		u.t.Errorf("making %v: %v", p, err)
		return true
	}
	info, err := os.Lstat(made.Path())
	var use dirUse
	if err == nil && p.early && p.do != "" {
		use, err = u.begin(p, u.nursery)
	}
	if err == nil {
		err = os.Rename(made.Path(), filepath.Join(u.root, p.name))
	}
	if err == nil && !p.early && p.do != "" {
		use, err = u.begin(p, u.root)
	}
	late := !p.early && !time.Now().Before(due)
	switch {
	case err != nil && !late:
		u.t.Errorf("using %v: %v", p, err)
		return true
	case err != nil:
		use = nil
	}
	if p.do != "" && !late {
		u.guard(usedDir{p, inode(info)})
		time.Sleep(time.Until(due))
		u.awaitKnown(p.name)
		u.await(usesWholeSweeps + 1) // the one that is under way may have begun before
		time.Sleep(p.length)
		err := use.still()
		if guarded := u.unguard(p.name); guarded && err != nil {
			u.harm(p, fmt.Sprintf("its user says: %v", err))
		}
	}
	if use != nil {
		if err := use.end(); err != nil && !late {
			u.t.Errorf("ending the use of %v: %v", p, err)
		}
	}
	u.seeGone(p, due)
	u.mu.Lock()
	defer u.mu.Unlock()
	n := u.tally[p.kind.name]
	if late {
		n.late++
	} else {
		n.done++
		u.seen[p.name] = p.kind.name
	}
	if p.early {
		n.early++
	}
	u.tally[p.kind.name] = n
	return !late
}

// enough says whether so much has gone wrong that more says nothing.
func (u *uses) enough() bool { return u.harmed.Load()+u.missed.Load() >= 10 }

// awaitKnown waits until the watch has seen a dir: on a busy machine, sweeps end before.
func (u *uses) awaitKnown(name string) {
	known := func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.known[name]
	}
	for began := time.Now(); !known() && time.Since(began) < patience; {
		time.Sleep(10 * time.Millisecond)
	}
}

// await waits for so many ends of sweeps.
func (u *uses) await(sweeps int64) {
	for from, began := u.sweeps.Load(), time.Now(); u.sweeps.Load() < from+sweeps && time.Since(began) < patience; {
		time.Sleep(10 * time.Millisecond)
	}
}

// seeGone waits until the dir, which nobody uses, is gone.
func (u *uses) seeGone(p plan, due time.Time) {
	since := time.Now()
	if p.writes() {
		due = since.Add(usesStaleAfter) // what it wrote last may count until then
	}
	var from int64
	for from = -1; exists(filepath.Join(u.root, p.name)); time.Sleep(5 * time.Millisecond) {
		if from < 0 && time.Now().After(due) {
			from = u.sweeps.Load()
		}
		if from >= 0 && u.sweeps.Load() > from+usesLastSweeps || time.Since(since) > patience {
			u.missed.Add(1)
			out, _ := exec.Command(u.binary, "list", p.name, "--root", u.root, "--stale-after", usesStaleAfter.String()).CombinedOutput()
			u.t.Errorf("%v stays, though nobody has used it for %v; list says:\n%s", p, time.Since(since), out)
			return
		}
	}
}

// guard begins to see to it that a dir stays.
func (u *uses) guard(d usedDir) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.used[d.name] = d
}

// unguard ends that. It returns false if the dir did not stay.
func (u *uses) unguard(name string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, stayed := u.used[name]
	delete(u.used, name)
	return stayed
}

// harm is what must not happen to a used dir.
func (u *uses) harm(p plan, what string) {
	u.harmed.Add(1)
	u.t.Errorf("harm: %v is used: %s", p, what)
}

// guardPlaces looks whether each used dir stands at its name.
func (u *uses) guardPlaces() {
	u.mu.Lock()
	for name, d := range u.used {
		switch info, err := os.Lstat(filepath.Join(u.root, name)); {
		case err != nil:
			u.harm(d.plan, err.Error())
		case inode(info) != d.ino:
			u.harm(d.plan, "another directory stands there")
		default:
			continue
		}
		delete(u.used, name)
	}
	u.mu.Unlock()
	time.Sleep(2 * time.Millisecond)
}

// guardNames looks whether a used dir was renamed, be it for a moment.
func (u *uses) guardNames(events *entryEvents) {
	e, ok := events.next(50 * time.Millisecond)
	if !ok {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if d, used := u.used[e.name]; used {
		u.harm(d.plan, "it was renamed")
		delete(u.used, e.name)
	}
}

// takeLog counts what the watch has logged.
func (u *uses) takeLog() {
	u.mu.Lock()
	for _, e := range u.w.takeLog() {
		u.logged[e.event]++
		switch e.event {
		case "sweep.done":
			u.sweeps.Add(1)
		case "daemon.added":
			u.known[e.daemon] = true
		case "daemon.kept":
			u.kept[e.daemon] = e.reason
		}
	}
	u.mu.Unlock()
	time.Sleep(10 * time.Millisecond)
}

// report fails the test for kinds that were not tried and for dirs that were kept though
// the log does not say why, and logs what was done.
func (u *uses) report(kinds []useKind) {
	all := 0
	for _, k := range kinds {
		n, reasons := u.tally[k.name], make(map[string]int)
		for name, kind := range u.seen {
			if kind == k.name {
				reasons[u.kept[name]]++
			}
		}
		if len(k.do) > 0 {
			all += n.done
		}
		if unlogged := reasons[""]; unlogged > 0 && len(k.do) > 0 && u.harmed.Load() == 0 {
			u.t.Errorf("%s: %d dirs were kept without a daemon.kept", k.name, unlogged)
		}
		delete(reasons, "")
		u.t.Logf("%s: %d, %d of them before the watch knew the dir, kept as %v; %d too late", k.name, n.done, n.early, reasons, n.late)
		if n.done == 0 && !u.enough() {
			u.t.Errorf("%s was not tried", k.name)
		}
	}
	u.t.Logf("%d uses during %d sweeps: %d used dirs removed or renamed, %d unused ones stayed; the log: %v",
		all, u.sweeps.Load(), u.harmed.Load(), u.missed.Load(), u.logged)
	for _, event := range []string{"daemon.gone", "sidecar.invalid", "sidecar.unwritable", "events.overflow", "watch.degraded"} {
		if u.logged[event] > 0 {
			u.t.Errorf("%s was logged %d times", event, u.logged[event])
		}
	}
	if left, err := os.ReadDir(u.root); err != nil || len(left) > int(u.missed.Load()) {
		u.t.Errorf("left in the root: %v, %v", left, err)
	}
}

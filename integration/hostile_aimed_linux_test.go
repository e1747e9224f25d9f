package integration

// What is swapped at the very step of a removal. Whoever swaps it all the while is seen before
// the removal begins, as a dir must have stood for a moment.

import (
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

// An aim is a step of a removal that can be noticed.
type aim int

const (
	noAim      aim = iota
	atOpen         // it opens the dir
	atSurvey       // it looks into the subdirectory
	atSidecar      // it opens the sidecar, for the last look
	atRename       // it has renamed the dir
	atEmptying     // it empties the subdirectory
	aims
)

var aimNames = [aims]string{"none", "open", "survey", "last look", "renamed", "emptying"}

const (
	aimedDirs = 24 // of one test
	// A swap comes up to so long after its step, and lasts up to so long.
	aimedDelay, aimedStay = 100 * time.Microsecond, 300 * time.Microsecond
	aimedBurst            = time.Millisecond
	// So often the root is looked over for what was removed or is out of place.
	aimedTidy = 10 * time.Millisecond
	// So many swaps must have met a removal.
	aimedSwaps = 20
)

// aimed is stale dirs that are swapped while they are removed.
type aimed struct {
	*swapped
	text   []byte // of their sidecars
	events *entryEvents
	rng    *rand.Rand
	dirs   map[string]*aimedDir
	names  map[int32]string // by watch
	at     [aims]int        // how many swaps met a removal there
}

// aimedDir is one of them.
type aimedDir struct {
	name    string
	target  string // of the symlink that takes its place; empty: a dir is on the stage
	aims    []aim
	swap    func(d *aimedDir)
	reached aim // of the removal that is going on
	armed   aim // at which it will be swapped
}

// aimed returns the engine for a root. Its dirs must be added before it is started.
func (sw *swapped) aimed(t *testing.T, text []byte) *aimed {
	sw.toMeet.Store(aimedSwaps)
	sw.least = swapTime() / 2 // an aimed one is not wasted
	seed := seedOr(t, rand.Uint64())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("again with GCTEST_SEED=%d", seed)
		}
	})
	return &aimed{swapped: sw, text: text, rng: rand.New(rand.NewPCG(seed, 0)), dirs: make(map[string]*aimedDir), names: make(map[int32]string)}
}

func (a *aimed) add(d *aimedDir) { a.dirs[d.name] = d }

// start swaps until the end.
func (a *aimed) start() {
	a.events = watchEntries(a.t, a.root, unix.IN_OPEN|unix.IN_MOVED_TO)
	a.busy.Go(func() {
		var tidied time.Time
		for !a.stop.Load() {
			if time.Since(tidied) > aimedTidy {
				for _, d := range a.dirs {
					a.tidy(d)
				}
				tidied = time.Now()
			}
			if e, ok := a.events.next(aimedTidy); ok {
				a.heard(e)
			}
		}
	})
}

// heard swaps what e is about, if that is the step for it.
func (a *aimed) heard(e entryEvent) {
	name, inRoot := a.names[e.watch], false
	if name == "" {
		inRoot, name = true, strings.TrimPrefix(e.name, daemondir.QuarantinePrefix)
	}
	d := a.dirs[name]
	if d == nil {
		return
	}
	at := noAim
	switch {
	case inRoot && e.name == name && e.mask&unix.IN_OPEN != 0:
		at = atOpen
	case inRoot && e.name != name && (d.reached != noAim || e.mask&unix.IN_OPEN != 0): // or it was left over
		at = atRename
	case d.reached == noAim: // somebody else reads it
	case e.name == "sub" && d.reached >= atRename:
		at = atEmptying
	case e.name == "sub":
		at = atSurvey
	case e.name == name+".daemon.json" && d.reached < atRename:
		at = atSidecar
	}
	if at == noAim {
		return
	}
	if d.reached = at; d.armed == noAim {
		d.armed = d.aims[a.rng.IntN(len(d.aims))]
	}
	if at == d.armed {
		if at != atEmptying { // which is over soon
			a.spin(aimedDelay)
		}
		before := a.swaps.Load()
		if d.swap(d); a.swaps.Load() > before {
			a.at[at]++
			a.met.Add(1)
		}
		d.reached, d.armed = noAim, noAim
	}
}

// spin lasts up to that long.
func (a *aimed) spin(longest time.Duration) {
	wait := time.Duration(a.rng.Int64N(int64(longest)))
	for began := time.Now(); time.Since(began) < wait; {
	}
}

// tidy puts d back in its place, and what is to be there in its stead on the stage, or makes d
// anew. It may do so in the middle of a removal: that is one more swap.
func (a *aimed) tidy(d *aimedDir) {
	for _, name := range []string{d.name, daemondir.QuarantinePrefix + d.name} {
		place, stage := a.dir(name), a.on(name)
		if d.target == "" {
			// Which of the two dirs is ours tells the text of the sidecar.
			if text, err := os.ReadFile(filepath.Join(stage, d.name+".daemon.json")); err == nil && string(text) == string(a.text) {
				a.exchange(place, stage)
			}
			continue
		}
		unlink(place) // if it is a symlink
		if info, err := os.Lstat(stage); err == nil && info.IsDir() {
			if unix.Renameat2(unix.AT_FDCWD, stage, unix.AT_FDCWD, place, unix.RENAME_NOREPLACE) != nil {
				_ = os.RemoveAll(stage)
			}
		}
		if !exists(stage) {
			_ = os.Symlink(d.target, stage)
		}
	}
	if !exists(a.dir(d.name)) && !exists(a.dir(daemondir.QuarantinePrefix+d.name)) {
		a.raise(a.dir(d.name), a.text)
	}
	if watch, err := a.events.add(a.dir(d.name), unix.IN_OPEN); err == nil {
		a.names[watch] = d.name
	}
}

// away swaps the name of the root for what is on the stage, and back.
func (a *aimed) away(name string) {
	a.exchange(a.dir(name), a.on(name))
	a.spin(aimedStay)
	a.exchange(a.dir(name), a.on(name))
}

// within swaps the directories in d, wherever d is by then, for symlinks to target, and back,
// again and again: there is no step between the last look at a name and its use.
func (a *aimed) within(d *aimedDir, target string) {
	in := -1
	for _, name := range []string{d.name, daemondir.QuarantinePrefix + d.name} {
		if fd, err := unix.Open(a.dir(name), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
			in = fd
			break
		}
	}
	if in < 0 {
		return
	}
	defer unix.Close(in)
	for began := time.Now(); time.Since(began) < aimedBurst; {
		for _, sub := range swappedSubs {
			link := a.on(sub + "-of-" + d.name)
			for range 2 {
				if unix.Renameat2(in, sub, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE) == nil {
					a.swaps.Add(1)
				}
			}
		}
	}
	for _, sub := range swappedSubs {
		link := a.on(sub + "-of-" + d.name)
		if _, err := os.Readlink(link); err != nil { // it was removed in the place of the directory
			_ = os.RemoveAll(link)
			_ = os.Symlink(target, link)
		}
	}
}

// report says at which steps swaps met removals.
func (a *aimed) report(t *testing.T) {
	t.Helper()
	var words []string
	for at, n := range a.at {
		if n > 0 {
			words = append(words, fmt.Sprintf("%s %d", aimNames[at], n))
		}
	}
	t.Logf("%d swaps met a removal: %s", a.met.Load(), strings.Join(words, ", "))
}

// The removal of a dir must not be led out of the root, at whatever moment the dir, the name it
// is given for the removal, or a directory in it becomes a symlink.
func TestSwappedStaleDir(t *testing.T) {
	eachWay(t, func(t *testing.T, how string) {
		sw := newSwapped(t, newHostileInMemory(t))
		a := sw.aimed(t, daemondirtest.Sidecar(ago(stale), ago(stale)))
		for i := range aimedDirs {
			d := &aimedDir{name: fmt.Sprint("dead-", i)}
			d.target = filepath.Join(sw.precious, d.name)
			sw.lookalike(d.target, d.name, a.text, 1<<22-1)
			switch i % 6 {
			case 0:
				d.aims = []aim{atOpen, atSurvey, atSidecar}
				d.swap = func(d *aimedDir) { a.away(d.name) }
			case 1:
				d.aims = []aim{atOpen, atSurvey, atSidecar}
				d.swap = func(d *aimedDir) { a.aside(a.dir(d.name), d.target) }
			case 2:
				d.aims = []aim{atRename, atEmptying}
				d.swap = func(d *aimedDir) { a.away(daemondir.QuarantinePrefix + d.name) }
			default:
				d.aims = []aim{atSurvey, atSidecar, atRename}
				d.swap = func(d *aimedDir) { a.within(d, filepath.Join(a.precious, "sub")) }
				for _, sub := range swappedSubs {
					sw.check(os.Symlink(filepath.Join(a.precious, "sub"), sw.on(sub+"-of-"+d.name)))
				}
			}
			a.add(d)
		}
		sw.before = snapshot(t, sw.precious)
		a.start()
		sw.collect(t, &syscall.SysProcAttr{}, how, unharmed)
		a.report(t)
	})
}

// Nor may it be led to another dir of the root: to that of a neighbour, by a symlink, or to the
// one that somebody has just put in the place of the stale one, as in "mv dead old; spawn dead".
func TestSwappedForNeighbour(t *testing.T) {
	for _, with := range []string{"symlink", "dir"} {
		t.Run(with, func(t *testing.T) {
			eachWay(t, func(t *testing.T, how string) {
				sw := newSwapped(t, newHostileInMemory(t))
				a := sw.aimed(t, daemondirtest.Sidecar(ago(stale), ago(stale)))
				now := daemondirtest.Sidecar(time.Now(), time.Now())
				for i := range aimedDirs / 2 {
					d := &aimedDir{name: fmt.Sprint("dead-", i), aims: []aim{atOpen, atSurvey, atSidecar}}
					d.swap = func(d *aimedDir) { a.away(d.name) }
					other := sw.on(d.name)
					if with == "symlink" {
						d.target = "neighbour-" + d.name
						other = sw.dir(d.target)
						sw.leave(d.target, now, "")
					} else {
						sw.lookalike(other, d.name, now, 1<<22-1)
					}
					sw.write(filepath.Join(other, "data"), "precious")
					sw.check(os.Link(filepath.Join(other, "data"), filepath.Join(sw.precious, d.name)))
					a.add(d)
				}
				sw.before = snapshot(t, sw.precious)
				a.start()
				sw.collect(t, &syscall.SysProcAttr{}, how, func() error {
					for name := range a.dirs {
						info, err := os.Stat(filepath.Join(sw.precious, name))
						if err == nil && info.Sys().(*syscall.Stat_t).Nlink != 2 {
							return errors.New("a file of a dir that was never due was removed")
						}
					}
					return nil
				})
				a.report(t)
			})
		})
	}
}

package integration

// What is swapped for something else between the look at it and what is done to it.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// swapTime is for how long a swap is tried that comes at any moment.
func swapTime() time.Duration {
	if os.Getenv("GCTEST_LONG") != "" {
		return time.Minute
	}
	return 2 * time.Second
}

const (
	swapBurst, swapRest = 32, time.Millisecond

	// At least so often the program must have looked at what is swapped, however busy the
	// machine, and have removed or refreshed it; some ten times as much is usual.
	swapPasses, swapDone = 5, 10
)

// swapped is a root in which someone swaps things, with a stage beside it on which he
// keeps the other things meanwhile.
type swapped struct {
	*hostile
	stage string
	least time.Duration // it is tried for so long, or longer
	stop  atomic.Bool
	swaps atomic.Int64
	busy  sync.WaitGroup

	met, toMeet atomic.Int64 // swaps that are aimed at a step of a removal; and how many there must be
}

func newSwapped(t *testing.T, h *hostile) *swapped {
	t.Helper()
	sw := &swapped{hostile: h, least: swapTime()}
	sw.stage = filepath.Join(filepath.Dir(sw.root), "stage")
	sw.check(os.Mkdir(sw.stage, 0o755))
	t.Cleanup(sw.end)
	return sw
}

// on returns the path of that name on the stage.
func (sw *swapped) on(name string) string { return filepath.Join(sw.stage, name) }

// loop calls step until the end. It rests between bursts: else the test has the processors, and
// whoever is to be led astray hardly runs.
func (sw *swapped) loop(step func(round int)) {
	sw.busy.Go(func() {
		for round := 0; !sw.stop.Load(); round++ {
			step(round)
			if round%swapBurst == swapBurst-1 {
				time.Sleep(swapRest)
			}
		}
	})
}

// end waits until nothing is swapped any more.
func (sw *swapped) end() {
	sw.stop.Store(true)
	sw.busy.Wait()
}

// exchange swaps two paths in one step, if both are there.
func (sw *swapped) exchange(a, b string) {
	if unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE) == nil {
		sw.swaps.Add(1)
	}
}

// aside moves path to the stage, has a symlink to target there for a moment, and moves
// it back.
func (sw *swapped) aside(path, target string) {
	away := sw.on("aside-" + filepath.Base(path))
	if os.Rename(path, away) != nil {
		return
	}
	if os.Symlink(target, path) == nil {
		sw.swaps.Add(1)
		unlink(path)
	}
	_ = os.Rename(away, path) // unless it is taken; then it is made anew
}

// unlink removes path if it is no directory.
func unlink(path string) { _ = unix.Unlink(path) }

// swappedSubs are the directories in a dir that raise makes.
var swappedSubs = []string{"sub", "sub-2", "sub-3", "sub-4"}

// raise makes a stale daemon dir at path, by one rename, if there is nothing.
func (sw *swapped) raise(path string, text []byte) {
	name := filepath.Base(path)
	fresh := sw.on("raised-" + name)
	if os.Mkdir(fresh, 0o755) != nil && !exists(fresh) {
		return
	}
	for _, file := range []string{name + ".daemon.json", "log"} {
		_ = os.WriteFile(filepath.Join(fresh, file), text, 0o644)
	}
	for _, sub := range swappedSubs {
		_ = os.MkdirAll(filepath.Join(fresh, sub, "below"), 0o755)
	}
	_ = filepath.WalkDir(fresh, func(path string, _ fs.DirEntry, _ error) error { return grow(path) })
	_ = unix.Renameat2(unix.AT_FDCWD, fresh, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
}

// grow makes path as old as what is due: what was written recently is kept.
func grow(path string) error {
	old := ago(stale)
	return os.Chtimes(path, old, old)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// lookalike makes a daemon dir at path that is none of ours, and has the times that
// ours have.
func (sw *swapped) lookalike(path, name string, text []byte, pid int) {
	sw.check(os.MkdirAll(filepath.Join(path, "log"), 0o755))
	sw.write(filepath.Join(path, name+".daemon.json"), string(text))
	sw.write(filepath.Join(path, "daemon.pid"), strconv.Itoa(pid))
	sw.write(filepath.Join(path, name), "a program")
	sw.write(filepath.Join(path, "log", "a.log"), "a log")
	old := ago(stale)
	for _, file := range []string{name + ".daemon.json", "daemon.pid", name, "log/a.log", "log", "."} {
		sw.check(os.Chtimes(filepath.Join(path, file), old, old))
	}
}

// progress is what the program has done so far.
type progress struct{ passes, removed, refreshed int }

func (p *progress) add(removed, refreshed int) {
	p.passes++
	p.removed += removed
	p.refreshed += refreshed
}

// collect has the root collected until the time is over and enough was done: by a watch, with
// everybody who looks beside it, or by one prune after the other. harm is asked meanwhile.
func (sw *swapped) collect(t *testing.T, attr *syscall.SysProcAttr, how string, harm func() error) {
	t.Helper()
	began := time.Now()
	goOn := func(p progress) bool {
		if err := harm(); err != nil {
			t.Error(err)
		}
		passed := time.Since(began)
		enough := passed > sw.least && p.passes >= swapPasses && p.removed+p.refreshed >= swapDone && sw.met.Load() >= sw.toMeet.Load()
		return !enough && passed < sw.least+patience && !t.Failed()
	}
	var done progress
	switch how {
	case "watch":
		w := startWatchAs(t, attr, sw.root, "--stale-after", "1h", "--sweep-interval", "2ms")
		for goOn(done) {
			for _, args := range [][]string{{"list"}, {"prune", "--dry-run"}} {
				o := runAs(t, attr, append(args, "--root", sw.root, "--log-level", "debug")...)
				mustBePrintable(t, "stderr of "+args[0], o.stderr)
			}
			done = progress{}
			for _, e := range w.all("sweep.done", "") {
				done.add(int(e.number("removed")), int(e.number("refreshed")))
			}
		}
		sw.end()
		mustBeSmall(t, w.cmd.Process)
		w.stop(syscall.SIGTERM)
	case "prune":
		for goOn(done) {
			o := runAs(t, attr, "prune", "--stale-after", "1h", "--root", sw.root, "--log-level", "debug")
			mustBePrintable(t, "stderr of prune", o.stderr)
			var scanned, removed, refreshed int
			last := o.stdout[strings.LastIndexByte(strings.TrimSuffix(o.stdout, "\n"), '\n')+1:]
			if _, err := fmt.Sscanf(last, "%d scanned, %d removed, %d refreshed,", &scanned, &removed, &refreshed); err != nil {
				t.Errorf("prune ends with %q: %v", last, err)
			}
			done.add(removed, refreshed)
		}
		sw.end()
	}
	t.Logf("%d swaps, %d passes, %d removals, %d refreshes", sw.swaps.Load(), done.passes, done.removed, done.refreshed)
	if done.passes < swapPasses || done.removed+done.refreshed < swapDone || sw.met.Load() < sw.toMeet.Load() {
		t.Error("hardly anything was done beside the swaps")
	}
	if err := harm(); err != nil {
		t.Error(err)
	}
	sw.before.mustEqual(t, snapshot(t, sw.precious))
}

func unharmed() error { return nil }

// eachWay runs test under a watch and under prunes.
func eachWay(t *testing.T, test func(t *testing.T, how string)) {
	t.Parallel()
	for _, how := range []string{"watch", "prune"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			test(t, how)
		})
	}
}

// A refresh must write to the sidecar it has judged and to nothing else: not where the
// dir leads that has taken its place, nor where a symlink leads in place of the sidecar
// or the pid file.
func TestSwappedLiveDir(t *testing.T) {
	eachWay(t, func(t *testing.T, how string) {
		sw := newSwapped(t, newHostile(t))
		sw.swapLive(t)
		sw.collect(t, &syscall.SysProcAttr{}, how, unharmed)
	})
}

// The same without leases, which an ordinary user has on his own files only: there a
// refresh writes a new file and renames it. He may give that away, so that it can be done.
func TestSwappedLiveDirWithoutLeases(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs files of two users")
	}
	eachWay(t, func(t *testing.T, how string) {
		sw := newSwapped(t, newHostile(t))
		path, other := sw.layLive("live")
		attr := ordinaryUser(t, sw.root)
		attr.AmbientCaps = []uintptr{unix.CAP_CHOWN, unix.CAP_FOWNER}
		sw.check(filepath.WalkDir(sw.precious, func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, nobodyID, nobodyID))
		}))
		foreign := func(path string) error {
			return errors.Join(os.Lchown(path, 0, 0), unix.Fchmodat(unix.AT_FDCWD, path, 0o666, unix.AT_SYMLINK_NOFOLLOW))
		}
		sw.check(foreign(filepath.Join(sw.precious, "live", "live.daemon.json")))
		sw.before = snapshot(t, sw.precious)
		sw.check(foreign(sw.sidecar("live")))
		sw.loop(func(int) {
			sw.exchange(path, other)
			sw.exchange(path, other)
		})
		sw.collect(t, attr, how, unharmed)
	})
}

// swapLive swaps what belongs to live daemons.
func (sw *swapped) swapLive(t *testing.T) {
	t.Helper()
	for _, name := range []string{"live", "live-sidecar", "live-pid", "live-aside"} {
		path, other := sw.layLive(name)
		sw.loop(func(int) {
			if name != "live-aside" {
				sw.exchange(path, other)
			} else if target, err := os.Readlink(other); err == nil {
				sw.aside(path, target)
			}
		})
	}
	sw.before = snapshot(t, sw.precious)
	t.Cleanup(func() {
		for _, d := range sw.all {
			home := d.dir
			if info, err := os.Lstat(home); err != nil || !info.IsDir() {
				home = sw.on(d.name)
			}
			if _, err := os.Stat(filepath.Join(home, d.name)); err != nil {
				t.Errorf("the dir of a live daemon: %v", err)
			}
		}
	})
}

// layLive spawns a daemon. It returns what of it is to be swapped, and a symlink on the
// stage to the like of it.
func (sw *swapped) layLive(name string) (path, other string) {
	text := daemondirtest.Sidecar(time.Now(), ago(stale))
	d := sw.spawnAs(name, text)
	sw.lookalike(filepath.Join(sw.precious, name), name, text, d.pid)
	target, path := filepath.Join(sw.precious, name), sw.dir(name)
	switch name {
	case "live-sidecar":
		target, path = filepath.Join(target, name+".daemon.json"), sw.sidecar(name)
	case "live-pid":
		target, path = filepath.Join(target, "daemon.pid"), filepath.Join(path, "daemon.pid")
	}
	sw.check(os.Symlink(target, sw.on(name)))
	return path, sw.on(name)
}

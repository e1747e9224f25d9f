package integration

// What is swapped for something else between the look at it and what is done to it.

import (
	"errors"
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

// swapTime is for how long each swap is tried.
func swapTime() time.Duration {
	if os.Getenv("GCTEST_LONG") != "" {
		return time.Minute
	}
	return 2 * time.Second
}

// swapped is a root in which someone swaps things, with a stage beside it on which he
// keeps the other things meanwhile.
type swapped struct {
	*hostile
	stage string
	stop  atomic.Bool
	swaps atomic.Int64
	busy  sync.WaitGroup
}

func newSwapped(t *testing.T) *swapped {
	t.Helper()
	sw := &swapped{hostile: newHostile(t)}
	sw.stage = filepath.Join(filepath.Dir(sw.root), "stage")
	sw.check(os.Mkdir(sw.stage, 0o755))
	t.Cleanup(sw.end)
	return sw
}

// on returns the path of that name on the stage.
func (sw *swapped) on(name string) string { return filepath.Join(sw.stage, name) }

// loop calls step until the end.
func (sw *swapped) loop(step func(round int)) {
	sw.busy.Go(func() {
		for round := 0; !sw.stop.Load(); round++ {
			step(round)
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

// within swaps the subdirectory of the stale dir at path for a symlink to target, and
// back, wherever the dir is moved, until it is gone.
func (sw *swapped) within(path, target string) {
	dir, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(dir)
	other := sw.on("within-" + filepath.Base(path))
	_ = os.RemoveAll(other) // what the last round has left
	if os.Symlink(target, other) != nil {
		return
	}
	old := unix.NsecToTimespec(ago(stale).UnixNano())
	for !sw.stop.Load() && unix.Renameat2(dir, "sub", unix.AT_FDCWD, other, unix.RENAME_EXCHANGE) == nil {
		_ = unix.UtimesNanoAt(dir, ".", []unix.Timespec{old, old}, 0) // else it would be kept for that
		sw.swaps.Add(1)
	}
}

// unlink removes path if it is no directory.
func unlink(path string) { _ = unix.Unlink(path) }

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
	for _, dir := range []string{"below", "a", "b", "c"} {
		_ = os.MkdirAll(filepath.Join(fresh, "sub", dir), 0o755)
	}
	_ = filepath.WalkDir(fresh, func(path string, _ fs.DirEntry, _ error) error { return grow(path) })
	_ = grow(filepath.Join(fresh, "sub"))
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

// collect has the root collected until the time is over: by a watch, with everybody
// who looks beside it, or by one prune after the other. harm is asked meanwhile.
func (sw *swapped) collect(t *testing.T, attr *syscall.SysProcAttr, how string, harm func() error) {
	t.Helper()
	over := time.Now().Add(swapTime())
	var passes, removed int
	look := func(args ...string) {
		o := runAs(t, attr, append(args, "--root", sw.root, "--log-level", "debug")...)
		mustBePrintable(t, "stderr of "+args[0], o.stderr)
		passes++
		removed += strings.Count("\n"+o.stdout, "\nremoved ")
	}
	goOn := func() bool {
		if err := harm(); err != nil {
			t.Error(err)
		}
		return time.Now().Before(over) && !t.Failed()
	}
	switch how {
	case "watch":
		w := startWatchAs(t, attr, sw.root, "--stale-after", "1h", "--sweep-interval", "2ms")
		for goOn() {
			look("list")
			look("prune", "--dry-run")
		}
		sw.end()
		mustBeSmall(t, w.cmd.Process)
		w.stop(syscall.SIGTERM)
		removed = len(w.all("daemon.removed", ""))
		passes = len(w.all("sweep.done", ""))
	case "prune":
		for goOn() {
			look("prune", "--stale-after", "1h")
		}
		sw.end()
	}
	t.Logf("%d swaps, %d passes, %d removals", sw.swaps.Load(), passes, removed)
	if sw.swaps.Load() == 0 {
		t.Error("nothing was swapped")
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

// The removal of a dir must not be led out of the root, at whatever moment the dir, or
// the name it is given for the removal, becomes a symlink.
func TestSwappedStaleDir(t *testing.T) {
	eachWay(t, func(t *testing.T, how string) {
		sw := newSwapped(t)
		text := daemondirtest.Sidecar(ago(stale), ago(stale))
		names := []string{"dead", "dead-2", "dead-3", "dead-4"}
		for _, name := range names {
			sw.lookalike(filepath.Join(sw.precious, name), name, text, 1<<22-1)
			sw.check(os.Symlink(filepath.Join(sw.precious, name), sw.on(name)))
			sw.check(os.Symlink("../precious/"+name, sw.on(".pruned-"+name)))
		}
		sw.before = snapshot(t, sw.precious)
		for _, name := range names {
			path, hidden := sw.dir(name), sw.dir(".pruned-"+name)
			sw.loop(func(round int) {
				switch {
				case name == "dead-4":
					sw.raise(path, text)
					sw.within(path, filepath.Join(sw.precious, "sub"))
				case name == "dead-2":
					sw.aside(path, filepath.Join(sw.precious, name))
				case name == "dead-3":
					sw.exchange(hidden, sw.on(".pruned-"+name))
				default:
					sw.exchange(path, sw.on(name))
				}
				if round%64 == 0 && name != "dead-4" {
					sw.raise(path, text)
					if name != "dead-3" {
						unlink(hidden)
					}
				}
				if !exists(sw.on(name)) {
					_ = os.Symlink(filepath.Join(sw.precious, name), sw.on(name))
				}
			})
		}
		sw.collect(t, &syscall.SysProcAttr{}, how, unharmed)
	})
}

// Nor may it be led to another dir of the root: to that of a neighbour, by a symlink,
// or to the one that somebody has just put in the place of the stale one, as in
// "mv dead old; spawn dead".
func TestSwappedForNeighbour(t *testing.T) {
	for _, with := range []string{"symlink", "dir"} {
		t.Run(with, func(t *testing.T) {
			eachWay(t, func(t *testing.T, how string) {
				sw := newSwapped(t)
				text := daemondirtest.Sidecar(ago(stale), ago(stale))
				other := sw.dir("neighbour")
				if with == "symlink" {
					sw.leave("neighbour", daemondirtest.Sidecar(time.Now(), time.Now()), "")
					sw.check(os.Symlink("neighbour", sw.on("dead")))
				} else {
					sw.lookalike(sw.on("dead"), "dead", daemondirtest.Sidecar(time.Now(), time.Now()), 1<<22-1)
					other = sw.on("dead")
				}
				sw.write(filepath.Join(other, "data"), "precious")
				sw.check(os.Link(filepath.Join(other, "data"), filepath.Join(sw.precious, "data")))
				sw.before = snapshot(t, sw.precious)
				sw.loop(func(round int) {
					sw.exchange(sw.dir("dead"), sw.on("dead"))
					if round%64 == 0 {
						unlink(sw.dir(".pruned-dead"))
						sw.raise(sw.dir("dead"), text)
						if with == "symlink" && !exists(sw.on("dead")) {
							_ = os.Symlink("neighbour", sw.on("dead"))
						}
					}
				})
				data := filepath.Join(sw.precious, "data")
				sw.collect(t, &syscall.SysProcAttr{}, how, func() error {
					info, err := os.Stat(data)
					if err == nil && info.Sys().(*syscall.Stat_t).Nlink != 2 {
						err = errors.New("a file of a dir that was never due was removed")
					}
					return err
				})
			})
		})
	}
}

// A refresh must write to the sidecar it has judged and to nothing else: not where the
// dir leads that has taken its place, nor where a symlink leads in place of the sidecar
// or the pid file.
func TestSwappedLiveDir(t *testing.T) {
	eachWay(t, func(t *testing.T, how string) {
		sw := newSwapped(t)
		sw.swapLive(t)
		sw.collect(t, &syscall.SysProcAttr{}, how, unharmed)
	})
}

// The same without leases, which an ordinary user has on his own files only: there a
// refresh writes a new file and renames it.
func TestSwappedLiveDirWithoutLeases(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs files of two users")
	}
	eachWay(t, func(t *testing.T, how string) {
		sw := newSwapped(t)
		path, other := sw.layLive("live")
		attr := ordinaryUser(t, sw.root)
		sw.check(filepath.WalkDir(sw.precious, func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, nobodyID, nobodyID))
		}))
		foreign := func(path string) error {
			return errors.Join(os.Lchown(path, 0, 0), unix.Fchmodat(unix.AT_FDCWD, path, 0o666, unix.AT_SYMLINK_NOFOLLOW))
		}
		sw.check(foreign(filepath.Join(sw.precious, "live", "live.daemon.json")))
		sw.before = snapshot(t, sw.precious)
		sw.loop(func(round int) {
			if round%16 == 0 {
				// The one that a refresh has written is the user's own.
				if info, err := os.Lstat(path); err == nil && info.IsDir() {
					_ = foreign(sw.sidecar("live")) // it may be being replaced
				}
			}
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

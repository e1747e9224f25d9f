package integration

// Everything at once: daemons that are born, killed and respawned, dirs that are
// written, cut, moved, barred and removed, a queue that overflows and a root that comes
// and goes. A storm is a list of steps; one that fails is cut down to few steps.

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// mixed is one storm that is under way.
type mixed struct {
	*spawner
	base    string // holds all
	outside string // holds what nobody may touch
	w       *watchProcess
	f       *follower

	patience time.Duration
	stopped  bool
	living   map[string][]*mixedDaemon // by name; the last has the dir
	procs    map[int]*mixedDaemon      // by pid, all that ever were
}

// mixedDaemon is one process of a mixed storm.
type mixedDaemon struct {
	*daemon
	text       []byte    // its sidecar
	touched    bool      // the storm has changed its files
	lost       bool      // the storm has moved or removed its dir
	superseded time.Time // when another was about to be spawned in its dir; zero: not yet
}

func (m *mixed) lives(pid int) bool { d := m.procs[pid]; return d != nil && d.killed.IsZero() }

// path returns one of the things of a daemon dir that can be barred.
func (m *mixed) path(name string, n int) string {
	return []string{m.dir(name), m.sidecar(name), m.dir(name) + "/daemon.pid"}[n%3]
}

func (m *mixed) unbar(name string) {
	for n, mode := range []fs.FileMode{0o755, 0o644, 0o644} {
		os.Chmod(m.path(name, n), mode)
	}
}

// touch says that the storm changes files of these daemons.
func (m *mixed) touch(names ...string) {
	for _, name := range names {
		for _, d := range m.living[name] {
			d.touched = true
		}
	}
}

// lose says that the storm moves or removes their dirs.
func (m *mixed) lose(names ...string) {
	for _, name := range names {
		for _, d := range m.living[name] {
			d.lost = true
		}
	}
}

func (m *mixed) loseAll() {
	for name := range m.living {
		m.lose(name)
	}
}

// supersede says that a spawn takes over the dir of that name, which may have come here
// by another, from all who live in it.
func (m *mixed) supersede(name string) {
	m.touch(name)
	m.lose(name)
	info, err := os.Stat(m.dir(name))
	for _, living := range m.living {
		for _, d := range living {
			if d.superseded.IsZero() && (d.name == name || err == nil && inode(info) == d.inode) {
				d.touched, d.superseded = true, time.Now()
			}
		}
	}
}

// spawnAgain spawns name; one that lives is killed before, or not.
func (m *mixed) spawnAgain(name string, n int) {
	if n%3 != 0 {
		m.kill(name, n%3 == 1)
	}
	for range 3 {
		m.supersede(name)
		now := time.Now()
		text := daemondirtest.Sidecar(now, now)
		d, err := m.try(name, text)
		if err == nil {
			md := &mixedDaemon{daemon: d, text: text}
			// Its files are barred still, perhaps.
			for n := range 3 {
				info, err := os.Lstat(m.path(name, n))
				md.touched = md.touched || err != nil || info.Mode()&0o400 == 0
			}
			m.living[name] = append(m.living[name], md)
			m.procs[d.pid] = md
			return
		}
		if !m.reachable() || errors.Is(err, fs.ErrPermission) {
			return
		}
		if !errors.Is(err, fs.ErrNotExist) {
			m.t.Fatalf("spawning %q: %v", name, err)
		}
		// It ran into the removal of the dir that it found.
	}
}

func (m *mixed) kill(name string, zombie bool) {
	for _, d := range m.living[name] {
		if zombie {
			d.abandon()
		} else {
			d.daemon.kill()
		}
	}
	delete(m.living, name)
}

// reachable says whether the root is there, for ordinary users, too.
func (m *mixed) reachable() bool {
	info, err := os.Stat(m.root)
	return err == nil && info.Mode()&0o700 == 0o700
}

func (m *mixed) flood() {
	if m.reachable() {
		flood(m.t, m.root)
	}
}

// stop stops the watch, but not while it holds a lease: a spawner would wait for 45 s.
func (m *mixed) stop() {
	pid := m.w.cmd.Process.Pid
	daemondirtest.Eventually(m.t, "the watch is stopped without a lease", func() bool {
		if m.stopped {
			return true
		}
		syscall.Kill(pid, syscall.SIGSTOP)
		daemondirtest.Eventually(m.t, "the watch is stopped", func() bool { return strings.HasPrefix(procStatus(m.t, pid, "State"), "T") })
		m.stopped = true
		locks, err := os.ReadFile("/proc/locks")
		if err != nil {
			m.t.Fatal(err)
		}
		for line := range strings.Lines(string(locks)) {
			if strings.Contains(line, " LEASE ") && strings.Contains(line, fmt.Sprintf(" %d ", pid)) {
				m.proceed()
			}
		}
		return m.stopped
	})
}

func (m *mixed) proceed() {
	if m.stopped {
		syscall.Kill(m.w.cmd.Process.Pid, syscall.SIGCONT)
		m.stopped = false
	}
}

func (m *mixed) back() {
	away := m.root + ".away"
	if _, err := os.Lstat(away); err == nil && unix.Rename(away, m.root) != nil {
		os.RemoveAll(away) // there is another root
	}
}

func (m *mixed) parentBack() {
	parent := filepath.Dir(m.root)
	away := parent + ".away"
	if _, err := os.Lstat(away); err == nil && unix.Rename(away, parent) != nil {
		m.loseAll()
		os.RemoveAll(parent)
		unix.Rename(away, parent)
	}
}

// harm returns an error if the dir of a daemon that lives is not as its spawner, or
// the storm, left it.
func (m *mixed) harm() error {
	var all []error
	for name, living := range m.living {
		for _, d := range living {
			var err error
			info, statErr := os.Stat(d.dir)
			switch {
			case d.lost:
			case statErr != nil:
				err = statErr
			case inode(info) != d.inode:
				err = errors.New("it is another directory")
			case !d.touched:
				if err = d.complete(); err == nil {
					var text []byte
					text, err = os.ReadFile(m.sidecar(name))
					if err == nil && !bytes.Equal(lastSeen.ReplaceAll(text, []byte("$1")), lastSeen.ReplaceAll(d.text, []byte("$1"))) {
						err = errors.New("its sidecar is not what the spawner wrote")
					}
				}
			}
			if err != nil {
				all = append(all, fmt.Errorf("the dir of %s, which lives as %d: %w", name, d.pid, err))
			}
		}
	}
	return errors.Join(all...)
}

// diff returns what is not as it must be now, or "".
func (m *mixed) diff() string {
	if !m.reachable() {
		return m.f.diff(nil, m.lives)
	}
	diff := m.f.diff(scan(m.t, m.root, m.lives), m.lives)
	if err := m.harm(); err != nil {
		diff += "\n" + err.Error()
	}
	return diff
}

// mustBeTrue waits until what was said is what there is, and nothing more was said for
// that long.
func (m *mixed) mustBeTrue(quiet time.Duration) {
	m.t.Helper()
	m.proceed()
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		diff := m.diff()
		calm := time.Since(m.f.news)
		if diff == "" && calm >= quiet {
			break
		}
		if time.Since(began) > m.patience {
			m.t.Fatalf("not within %v: nothing said for %v, it was %v; %s", m.patience, quiet, calm, diff)
		}
	}
	m.f.mustBeConsistent(m.t)
}

// mustBeWatched changes every dir and waits until each is told of.
func (m *mixed) mustBeWatched() {
	m.t.Helper()
	pid := bystander(m.t, "/")
	names := daemonDirs(m.t, m.root)
	for _, name := range names {
		daemondirtest.Eventually(m.t, "a daemon dir is written", func() bool { // or is being removed
			now := time.Now()
			_, err := m.begin(name, daemondirtest.Sidecar(now, now))
			return err == nil && os.WriteFile(m.dir(name)+"/daemon.pid", []byte(strconv.Itoa(pid)), 0o644) == nil
		})
	}
	var left []string
	if !within(m.patience, func() bool {
		m.f.catchUp()
		left = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return m.f.said[name] == pid })
		return len(left) == 0
	}) {
		m.t.Fatalf("not noticed within %v that they were changed: %q", m.patience, left)
	}
}

// mustBeConsistent checks what was said of processes against what became of them.
func (m *mixed) mustBeConsistent() {
	m.t.Helper()
	m.f.mustBeConsistent(m.t)
	for _, e := range m.w.all("", "") {
		d := m.procs[int(e.number("pid"))]
		if d == nil || e.event != "daemon.exited" && e.event != "daemon.removed" {
			continue
		}
		before := func(t time.Time) bool { return t.IsZero() || e.time.Before(t.Truncate(time.Millisecond)) }
		if before(d.killed) && before(d.superseded) {
			m.t.Errorf("its process lived: %s", e.line)
		}
	}
}

// runMixed runs one storm and checks its end.
func runMixed(t *testing.T, steps []step, patience time.Duration) {
	base, image := stormBase(t)
	root := filepath.Join(base, "parent", "runtime")
	noError(t, os.MkdirAll(root, 0o755))
	t.Cleanup(func() { chmodBelow(base, 0o755) })
	outside := filepath.Join(base, "outside")
	newSpawner(t, outside).leaveOutside()
	before := snapshot(t, outside)

	var by []string
	if os.Geteuid() == 0 {
		// With those even what may not be read can be.
		by = []string{"setpriv", "--bounding-set", "-dac_override,-dac_read_search"}
		if _, err := exec.LookPath(by[0]); err != nil {
			t.Skip("only setpriv can make root respect a mode")
		}
	}
	interval := "1h"
	if slices.ContainsFunc(steps, func(s step) bool { return s.op == "sweeps" }) {
		interval = "20ms"
	}
	m := &mixed{
		spawner: newSpawner(t, root), base: base, outside: outside, patience: patience,
		living: make(map[string][]*mixedDaemon), procs: make(map[int]*mixedDaemon),
	}
	m.image = image
	m.w = startWatchBy(t, by, &syscall.SysProcAttr{}, root,
		"--stale-after", mixedStaleAfter.String(), "--sweep-interval", interval)
	m.f = follow(m.w)
	m.w.next("root.found", "")
	for _, s := range steps {
		ops[s.op](m, dName(s.name), s.n)
	}

	m.proceed()
	m.parentBack()
	m.back()
	ops["make"](m, "", 0)
	ops["openroot"](m, "", 0)
	m.mustBeTrue(0)
	for i := range mixedNames {
		m.unbar(dName(i))
	}
	m.mustBeTrue(mixedQuiet)
	m.mustBeWatched()
	known := len(daemonDirs(t, root))
	if last := m.w.stop(syscall.SIGTERM); last.number("daemons") < int64(known) {
		t.Errorf("it knows fewer than %d daemons: %s", known, last.line)
	}
	m.f.catchUp()
	m.mustBeConsistent()
	before.mustEqual(t, snapshot(t, outside))
	t.Logf("%d steps, %d processes, %d removals, %d overflows, %d losses of the root", len(steps), len(m.procs),
		len(m.w.all("daemon.removed", "")), len(m.w.all("events.overflow", "")), len(m.w.all("root.lost", "")))
}

// stormBase returns a directory for a storm, and the file that its trampolines are hard
// links of: in memory, if what is there may be executed. A flood takes a disk a second.
func stormBase(t *testing.T) (dir, image string) {
	t.Helper()
	dir = filepath.Dir(memoryRoot(t))
	image = filepath.Join(dir, "trampoline")
	if err := daemondirtest.CopyProgram(image, trampolineImage(t)); err == nil {
		cmd := waiting(image)
		if err := cmd.Start(); err == nil {
			cmd.Process.Kill()
			cmd.Wait()
			return dir, image
		}
	}
	return t.TempDir(), trampolineImage(t)
}

// newSpawnerInMemory returns a spawner for an empty root, in memory as that of a storm: for
// those who make files by the thousand.
func newSpawnerInMemory(t *testing.T) *spawner {
	t.Helper()
	dir, image := stormBase(t)
	root := filepath.Join(dir, "runtime")
	noError(t, os.MkdirAll(root, 0o755))
	s := newSpawner(t, root)
	s.image = image
	return s
}

// leaveOutside leaves what a watch would remove, were it in the root.
func (s *spawner) leaveOutside() {
	noError(s.t, os.MkdirAll(s.root, 0o755))
	s.leave("victim", daemondirtest.Sidecar(ago(stale), ago(stale)), noProcess)
}

// found are storms, cut down, that found a broken program out: one that took no notice
// of an overflow, took what may not be read for gone, took another dir for the same.
// What a storm finds next belongs here.
var found = []string{
	"stop 5 5; flood 3 0; spawn 3 4",
	"respawn 5 0; check 0 0; bar 5 1; write 5 0; rest 0 5",
	"respawn 3 2; spawn 0 5; remake 2 1; exchange 0 3",
}

// Whatever is done to a root, in whatever order, what the watch says must be the truth
// in the end, each birth and exit once, and no live daemon's dir may be harmed.
//
// Not by pgregory.net/rapid: it shrinks by thousands of runs that must come out the same
// each time. A storm takes half a second if all is well, and as long as one is willing
// to wait if not; what it does is for the scheduler to say. So few runs must do, in
// processes of their own, since a failed test stays failed.
func TestMixedStorm(t *testing.T) {
	if given := os.Getenv(stepsEnv); given != "" {
		steps, err := parseSteps(given)
		if err != nil {
			t.Fatal(err)
		}
		wait := patience
		if given := os.Getenv(patienceEnv); given != "" {
			if wait, err = time.ParseDuration(given); err != nil {
				t.Fatal(err)
			}
		}
		runMixed(t, steps, wait)
		return
	}
	t.Parallel()
	storms, length, budget := 3, 70, time.Minute
	if os.Getenv("GCTEST_LONG") != "" {
		storms, length, budget = 100, 200, 5*time.Minute
	}
	seed := seedOr(t, uint64(time.Now().UnixNano()))
	for _, text := range found {
		steps, err := parseSteps(text)
		if err != nil {
			t.Fatal(err)
		}
		t.Run("found", func(t *testing.T) { runMixed(t, steps, patience) })
	}
	for i := range storms {
		steps := newStorm(rand.New(rand.NewPCG(seed, uint64(i))), length)
		if !t.Run(strconv.Itoa(i), func(t *testing.T) { runMixed(t, steps, patience) }) {
			small, out := shrink(t, steps, budget)
			t.Fatalf("GCTEST_SEED=%d, storm %d of %d steps, of which %d are enough:\n%s=%q\n%s",
				seed, i, len(steps), len(small), stepsEnv, spell(small), out)
		}
	}
}

// shrink returns a part of steps that still fails, and its output: as long as there is
// time it leaves out chunks, halves at first, single steps in the end (Zeller's ddmin).
func shrink(t *testing.T, steps []step, budget time.Duration) ([]step, string) {
	deadline := time.Now().Add(budget)
	output := "it does not fail again"
	try := func(steps []step) bool {
		cmd := exec.Command(os.Args[0], "-test.run=^TestMixedStorm$", "-test.timeout=2m")
		cmd.Env = append(prebuilt(t), stepsEnv+"="+spell(steps), patienceEnv+"=3s")
		out, err := cmd.CombinedOutput()
		if err != nil {
			output = string(out)
		}
		return err != nil
	}
	fails := func(steps []step) bool {
		failed := try(steps)
		if !failed { // what depends on timing may come out well by chance
			failed = try(steps)
		}
		return failed
	}
	for chunks := 2; len(steps) > 1; {
		size, smaller := (len(steps)+chunks-1)/chunks, false
		for from := 0; from < len(steps) && time.Now().Before(deadline); from += size {
			part := slices.Concat(steps[:from], steps[min(from+size, len(steps)):])
			if len(part) > 0 && fails(part) {
				steps, smaller = part, true
				break
			}
		}
		switch {
		case smaller:
			chunks = max(chunks-1, 2)
		case size == 1 || !time.Now().Before(deadline):
			return steps, output
		default:
			chunks = min(2*chunks, len(steps))
		}
	}
	return steps, output
}

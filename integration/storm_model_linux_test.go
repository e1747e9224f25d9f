package integration

// A storm of a model: one watch over several roots, a random sequence of steps of many
// kinds, and a model that knows what is true of every daemon dir. A dir of a live daemon,
// or one that is used, locked or protected, must never be touched, the watch must never
// exit by itself, and from time to time, and in the end, what it says must be the truth.

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	modelStepsEnv = "GCTEST_MODEL_STEPS" // how many steps
	modelKindsEnv = "GCTEST_MODEL_KINDS" // which kinds, or, each with a "-", which not

	modelSteps, modelStepsLong = 300, 100_000
	modelTime                  = 3 * time.Second // the short form ends its steps then
	modelCheckEvery            = 250             // steps between two looks at the truth
	modelNames                 = 8               // in each root
	modelStaleAfter            = 2 * time.Second
	modelSweep                 = 250 * time.Millisecond
)

// shelf is a directory that is a runtime root, or was, or may become one.
type shelf struct {
	*spawner      // its root is where the shelf is now
	covered  bool // something is mounted over it
	retired  bool // it will not be a root again
}

// place is a daemon dir.
type place struct {
	shelf  *shelf
	name   string // that its sidecar has
	at     string // that it has; another than name only while it is busy
	ino    uint64
	text   []byte // its sidecar, but for refreshes
	d      *daemon
	live   bool // d runs
	stays  bool // it is used, locked or protected: it must stay, even if its daemon is dead
	busy   bool // a step has changed it and will undo that; other steps leave it alone
	hidden bool // something is mounted over it
	noisy  bool // its daemon writes a log
	killed time.Time
	steps  []string // the last ones that concern it
}

func (p *place) path() string    { return filepath.Join(p.shelf.root, p.at) }
func (p *place) sidecar() string { return filepath.Join(p.path(), p.name+".daemon.json") }
func (p *place) pidFile() string { return filepath.Join(p.path(), "daemon.pid") }

// model is one storm that is under way.
type model struct {
	t           *testing.T
	seed        uint64
	rng         *rand.Rand
	mounts      bool // it may mount things
	base, image string
	roots       []string // as the watch was given them; the last is a symlink
	served      []*shelf // what is at each root, nil: nothing
	shelves     []*shelf // all that may be, or are, roots
	places      []*place
	config      daemonTOML
	protected   map[string]int // how many need the pattern in config

	step     int
	kind     string
	done     map[string]int // steps by kind
	pending  []undo
	rootBusy bool // a step has changed the roots and will undo that
	calm     bool // all roots are served, as of the last look at the truth
	begun    bool // they were served once since the watch was started
	last     []string

	w                *watchProcess
	url              string
	stopped, stalled bool
	limited          bool // it has few descriptors
	view             modelView
}

// undo ends what a step has begun.
type undo struct {
	at int    // the step after which it is due
	p  *place // nil: it concerns roots, or the watch
	do func()
}

// later has something undone after some steps, at most n.
func (m *model) later(n int, p *place, do func()) {
	if p != nil {
		p.busy = true
		again := do
		do = func() { p.busy = false; again() }
	}
	m.pending = append(m.pending, undo{m.step + 1 + m.rng.IntN(n), p, do})
}

// undo undoes what is due, or all of it: of roots and the watch, and of places too.
func (m *model) undo(all, placesToo bool) {
	for _, ofPlaces := range []bool{false, true} {
		var rest []undo
		pending := m.pending
		m.pending = nil
		for _, u := range pending {
			due := u.at <= m.step || all && (u.p == nil || placesToo)
			if (u.p != nil) != ofPlaces || !due || u.p != nil && u.p.shelf.covered {
				rest = append(rest, u)
				continue
			}
			u.do()
		}
		m.pending = append(m.pending, rest...)
	}
}

// pick returns a random place that no other step has in its hands, and for which
// suitable holds, or nil.
func (m *model) pick(suitable func(*place) bool) *place {
	for _, i := range m.rng.Perm(len(m.places)) {
		p := m.places[i]
		if !p.busy && !p.shelf.covered && (suitable == nil || suitable(p)) {
			m.note(p)
			return p
		}
	}
	return nil
}

// note takes down that the step concerns p.
func (m *model) note(p *place) {
	m.done[m.kind]++
	pid := 0
	if p.d != nil {
		pid = p.d.pid
	}
	text := fmt.Sprintf("%s step %d: %s %q in %s, pid %d, live %v", time.Now().UTC().Format("15:04:05.000"),
		m.step, m.kind, p.at, filepath.Base(p.shelf.root), pid, p.live)
	p.steps = append(p.steps[max(0, len(p.steps)-20):], text)
}

// find returns the place of that name in a shelf, or nil.
func (m *model) find(s *shelf, name string) *place {
	for _, p := range m.places {
		if p.shelf == s && (p.at == name || p.name == name) {
			return p
		}
	}
	return nil
}

// free returns a shelf and a name that is not used in it, or "".
func (m *model) free() (*shelf, string) {
	s := m.shelves[m.rng.IntN(len(m.shelves))]
	name := modelName(m.rng.IntN(modelNames))
	if s.covered || s.retired || m.find(s, name) != nil {
		return nil, ""
	}
	return s, name
}

// modelName returns one of the names of daemons; one is of wild bytes.
func modelName(n int) string {
	if n == 0 {
		return "wild\n\xff\x1b[31m"
	}
	return fmt.Sprint("d", n)
}

// forget drops the dead whose dirs are gone.
func (m *model) forget() {
	m.places = slices.DeleteFunc(m.places, func(p *place) bool {
		return !p.live && !p.busy && !p.shelf.covered && !exists(p.path())
	})
}

// guard fails the test if a dir that must stay does not stand where it must.
func (m *model) guard() {
	for _, p := range m.places {
		if !p.live && !p.stays || p.hidden || p.shelf.covered {
			continue
		}
		err := fmt.Errorf("never looked")
		for range 100 { // a removal that is called off at the last look has it out of sight
			if info, statErr := os.Lstat(p.path()); statErr != nil {
				err = statErr
			} else if inode(info) != p.ino {
				err = fmt.Errorf("it is another directory")
			} else {
				err = nil
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if err != nil {
			m.fail(p, "harm: the dir of %q must stay: %v", p.at, err)
		}
	}
}

// fail ends the test with all that is known of p.
func (m *model) fail(p *place, format string, args ...any) {
	m.t.Helper()
	m.resume()
	m.catchUp()
	text := fmt.Sprintf("GCTEST_SEED=%d, step %d: %s\n", m.seed, m.step, fmt.Sprintf(format, args...))
	if p != nil {
		runs := p.d != nil && syscall.Kill(p.d.pid, 0) == nil
		text += fmt.Sprintf("live %v, its process runs: %v, stays %v, busy %v; %d watches on it, %d on its root\nits steps:\n%s\nits log:\n%s",
			p.live, runs, p.stays, p.busy, m.watchesOn(p.path()), m.watchesOn(p.shelf.root),
			strings.Join(p.steps, "\n"), strings.Join(m.view.lines[daemonKey("", p.name)], ""))
		out := run(m.t, "list", p.name, "--root", p.shelf.root, "--config", m.config.path)
		text += "list says:\n" + out.stdout + out.stderr
	}
	m.t.Fatalf("%s\nthe last steps:\n%s\nthe log of the roots:\n%s", text, strings.Join(m.last, "\n"), strings.Join(m.view.lines[""], ""))
}

// flags say which roots, and with which times.
func (m *model) flags() []string {
	flags := []string{"--config", m.config.path}
	for _, root := range m.roots {
		flags = append(flags, "--root", root)
	}
	return flags
}

// startWatch starts a watch; another must have ended.
func (m *model) startWatch() {
	m.t.Helper()
	m.view.said = make(map[string]int)
	m.calm, m.begun = false, false
	m.w, m.url = startMeasured(m.t, m.roots[0], append(m.flags()[2+2:], "--config", m.config.path, "--sweep-interval", modelSweep.String())...)
}

// configure writes the configuration; a running watch must be told.
func (m *model) configure() {
	text := fmt.Sprintf("token = %q\nruntime_gc_stale_after_secs = %d\nruntime_gc_protect = [", secret, int(modelStaleAfter.Seconds()))
	for pattern, users := range m.protected {
		if users > 0 {
			text += strconv.Quote(pattern) + ", "
		}
	}
	m.config.write(text + "]\n")
}

// resume lets the watch run, and its log be read.
func (m *model) resume() {
	if m.stopped {
		m.stopped = false
		noError(m.t, m.w.cmd.Process.Signal(syscall.SIGCONT))
	}
	if m.stalled {
		m.stalled = false
		m.w.mu.Unlock()
	}
}

// Whatever is done to several roots at once, and to the watch itself.
func TestModelStorm(t *testing.T) {
	t.Parallel()
	steps, length := modelSteps, modelTime
	if raceEnabled {
		length /= 2
	}
	if os.Getenv("GCTEST_LONG") != "" {
		steps, length = modelStepsLong, time.Hour
	}
	if given := os.Getenv(modelStepsEnv); given != "" {
		var err error
		if steps, err = strconv.Atoi(given); err != nil {
			t.Fatalf("%s: %v", modelStepsEnv, err)
		}
		length = time.Hour
	}
	seed := seedOr(t, uint64(time.Now().UnixNano()))
	t.Logf("GCTEST_SEED=%d", seed)
	m := newModel(t, seed)
	var kinds []modelKind
	for _, k := range modelKinds {
		if wantKind(k.name) && (!k.mounts || m.mounts) {
			for range k.weight {
				kinds = append(kinds, k)
			}
		}
	}
	began := time.Now()
	for m.step = 1; m.step <= steps && time.Since(began) < length; m.step++ {
		k := kinds[m.rng.IntN(len(kinds))]
		if k.early && m.step > steps*6/10 {
			continue // the last steps are all of one process
		}
		m.kind = k.name
		before := m.done[k.name]
		k.do(m)
		if m.done[k.name] > before {
			m.last = append(m.last[max(0, len(m.last)-40):], fmt.Sprintf("%d: %s", m.step, k.name))
		}
		m.kind = "undo"
		m.undo(false, false)
		m.hum()
		m.guard()
		m.forget()
		m.catchUp()
		if m.step%modelCheckEvery == 0 {
			m.kind = "check"
			m.checkTruth()
		}
	}
	m.kind = "end"
	m.end()
	t.Logf("%d steps in %v: %v", m.step-1, time.Since(began).Round(time.Millisecond), m.done)
	t.Logf("the log: %v; %d dirs that stayed were checked for their daemon.kept", m.view.count, m.view.keptChecked)
	if steps >= 10_000 && os.Getenv(modelKindsEnv) == "" {
		for _, k := range kinds {
			if m.done[k.name] == 0 {
				t.Errorf("%s was never done", k.name)
			}
		}
	}
}

// ownMounts gives this thread, and what it starts, a mount namespace, until the test ends. The
// thread must not end with it: the processes that it has started for other tests would be
// killed (Pdeathsig).
func ownMounts(t *testing.T) bool {
	t.Helper()
	runtime.LockOSThread()
	was, err := os.Open("/proc/thread-self/ns/mnt")
	noError(t, err)
	dir, err := os.Getwd()
	noError(t, err)
	t.Cleanup(func() {
		defer was.Close()
		if err := errors.Join(unix.Setns(int(was.Fd()), unix.CLONE_NEWNS), unix.Chdir(dir)); err != nil {
			t.Error(err)
			return
		}
		runtime.UnlockOSThread()
	})
	return unix.Unshare(unix.CLONE_NEWNS) == nil && unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") == nil
}

// newModel makes the roots, and starts the watch.
func newModel(t *testing.T, seed uint64) *model {
	t.Helper()
	mounts := false
	if os.Geteuid() == 0 {
		mounts = ownMounts(t)
	}
	base, image := stormBase(t)
	t.Cleanup(func() { chmodBelow(base, 0o755) })
	m := &model{
		t: t, seed: seed, mounts: mounts, rng: rand.New(rand.NewPCG(seed, 0)), base: base, image: image,
		done: make(map[string]int), config: newDaemonTOML(t), protected: make(map[string]int), view: newModelView(),
	}
	t.Cleanup(m.unmount)
	noError(t, os.MkdirAll(filepath.Join(base, "roots"), 0o755))
	for _, dir := range []string{"nursery", "aside", "empty"} {
		noError(t, os.Mkdir(filepath.Join(base, dir), 0o755))
	}
	for i := range 5 {
		m.shelves = append(m.shelves, m.newShelf(m.rootPath(i)))
	}
	link := m.rootPath(5)
	noError(t, os.Symlink(filepath.Base(m.shelves[3].root), link))
	m.roots = []string{m.rootPath(0), m.rootPath(1), m.rootPath(2), link}
	m.served = slices.Clone(m.shelves[:4])
	m.configure()
	m.startWatch()
	return m
}

func (m *model) rootPath(n int) string {
	return filepath.Join(m.base, "roots", fmt.Sprint("r", n))
}

func (m *model) newShelf(root string) *shelf {
	noError(m.t, os.Mkdir(root, 0o755))
	s := &shelf{spawner: newSpawner(m.t, root)}
	s.image = m.image
	return s
}

// wantKind says whether steps of that kind are to be done.
func wantKind(name string) bool {
	given := os.Getenv(modelKindsEnv)
	if given == "" {
		return true
	}
	listed := strings.Split(given, ",")
	if strings.HasPrefix(given, "-") {
		return !slices.Contains(listed, "-"+name)
	}
	return slices.Contains(listed, name)
}

package integration

// What a mixed storm is made of: its steps, how they are chosen and written down, and what
// each of them does.

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// The environment of a storm that is done again.
const (
	stepsEnv    = "GCTEST_STEPS"    // its steps
	patienceEnv = "GCTEST_PATIENCE" // how long to wait for the log to agree with the disk
)

const (
	mixedNames      = 6
	mixedStaleAfter = 200 * time.Millisecond
	// mixedQuiet is how long nothing must be said at the end: longer than a dir that has
	// just died takes to be stale and removed.
	mixedQuiet = 400 * time.Millisecond
)

// step is one operation of a storm, to the daemon dir of that number.
type step struct {
	op   string
	name int
	n    int // which way, how much, which other name
}

func (s step) String() string { return fmt.Sprint(s.op, " ", s.name, " ", s.n) }

// spell writes steps as stepsEnv takes them.
func spell(steps []step) string {
	var words []string
	for _, s := range steps {
		words = append(words, s.String())
	}
	return strings.Join(words, "; ")
}

func parseSteps(text string) ([]step, error) {
	var steps []step
	for words := range strings.SplitSeq(text, ";") {
		var s step
		if _, err := fmt.Sscan(words, &s.op, &s.name, &s.n); err != nil {
			return nil, fmt.Errorf("parsing step %q: %w", words, err)
		}
		if ops[s.op] == nil {
			return nil, fmt.Errorf("there is no step %q", s.op)
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// common are the steps that may come at any time, as often as they are listed.
var common = strings.Fields(`
	spawn spawn spawn spawn spawn spawn spawn kill kill kill kill respawn respawn respawn log log log
	mkdir write write half half cut cut cutpid cutpid rmtree rmtree rmtree remake
	rename rename exchange exchange out bar bar unbar unbar log link noise rest rest rest`)

// losses are the ways in which a root is lost, and come back.
var losses = [][2]string{
	{"away", "back"}, {"away", "back"}, {"away", "make"}, {"lose", "make"}, {"lose", "make"},
	{"parentaway", "parentback"}, {"barroot", "openroot"}, {"replace", "rest"},
}

// newStorm returns some n steps. The first says whether the sweeps are frequent; if not,
// all must be noticed by an event.
func newStorm(rng *rand.Rand, n int) []step {
	var steps []step
	do := func(op string) { steps = append(steps, step{op, rng.IntN(mixedNames), rng.IntN(mixedNames)}) }
	some := func(atMost int) {
		for range rng.IntN(atMost + 1) {
			do(common[rng.IntN(len(common))])
		}
	}
	if rng.IntN(2) == 0 {
		do("sweeps")
	}
	for len(steps) < n {
		switch p := rng.IntN(100); {
		case p < 3:
			do("stop")
			some(8)
			do("flood")
			some(8)
			do("go")
		case p < 5: // stopped, and nothing lost
			do("stop")
			some(8)
			do("go")
		case p < 9:
			loss := losses[rng.IntN(len(losses))]
			do(loss[0])
			some(3)
			if rng.IntN(3) == 0 {
				do("check")
				some(3)
			}
			do(loss[1])
		case p < 11:
			do("check")
		case p < 13: // a respawn when its dir is due
			name := rng.IntN(mixedNames)
			steps = append(steps, step{"kill", name, rng.IntN(3)}, step{"due", 0, rng.IntN(mixedNames)})
			some(1)
			steps = append(steps, step{"spawn", name, 0})
		default:
			some(3)
		}
	}
	return steps
}

// ops are what the steps do, by name. Many fail, as what they want is not there: that is part
// of the storm.
var ops = map[string]func(m *mixed, name string, n int){
	"sweeps":  func(*mixed, string, int) {}, // see runMixed
	"spawn":   (*mixed).spawnAgain,
	"kill":    func(m *mixed, name string, n int) { m.kill(name, n%3 == 0) },
	"respawn": func(m *mixed, name string, n int) { m.kill(name, n%3 == 0); m.spawnAgain(name, 0) },
	"mkdir":   func(m *mixed, name string, _ int) { os.Mkdir(m.dir(name), 0o755) },
	"write": func(m *mixed, name string, _ int) { // a spawn that fails
		m.touch(name)
		m.begin(name, daemondirtest.Sidecar(time.Now(), time.Time{}))
	},
	"half": func(m *mixed, name string, n int) {
		m.touch(name)
		text := daemondirtest.Sidecar(time.Now(), time.Now())
		os.WriteFile(m.sidecar(name), text[:len(text)*n/mixedNames], 0o644)
	},
	"cut":    func(m *mixed, name string, n int) { m.touch(name); os.Truncate(m.sidecar(name), int64(n)*20) },
	"cutpid": func(m *mixed, name string, n int) { m.touch(name); os.Truncate(m.dir(name)+"/daemon.pid", 0) },
	"rmtree": func(m *mixed, name string, _ int) { m.lose(name); m.cleanup(name) },
	"remake": func(m *mixed, name string, _ int) { m.lose(name); m.cleanup(name); m.spawnAgain(name, 0) },
	"rename": func(m *mixed, name string, n int) {
		m.lose(name, dName(n))
		unix.Rename(m.dir(name), m.dir(dName(n))) // if that is free, or an empty dir
	},
	"exchange": func(m *mixed, name string, n int) {
		m.lose(name, dName(n))
		unix.Renameat2(unix.AT_FDCWD, m.dir(name), unix.AT_FDCWD, m.dir(dName(n)), unix.RENAME_EXCHANGE)
	},
	"out": func(m *mixed, name string, n int) { // and in again
		aside := filepath.Join(m.base, "aside")
		if unix.Rename(m.dir(name), aside) != nil {
			return
		}
		time.Sleep(time.Duration(n%3) * time.Millisecond)
		if unix.Rename(aside, m.dir(name)) != nil {
			m.lose(name)
			os.RemoveAll(aside)
		}
	},
	"bar":   func(m *mixed, name string, n int) { m.touch(name); os.Chmod(m.path(name, n), 0) },
	"unbar": func(m *mixed, name string, _ int) { m.unbar(name) },
	"log": func(m *mixed, name string, n int) { // two logs by turns: the kernel merges nothing
		for i := range 6 * n {
			os.WriteFile(fmt.Sprint(m.dir(name), "/", i%2, ".log"), []byte(secret), 0o644)
		}
	},
	"link": func(m *mixed, name string, _ int) {
		os.Symlink(m.outside, filepath.Join(m.root, "link-"+name))
		os.Symlink(m.outside, filepath.Join(m.dir(name), "inner"))
	},
	"noise": func(m *mixed, name string, _ int) {
		file := filepath.Join(m.root, "file-"+name)
		os.WriteFile(file, nil, 0o644)
		os.Remove(file)
	},
	"rest": func(_ *mixed, _ string, n int) { time.Sleep(time.Duration(n) * 4 * time.Millisecond) },

	"due": func(_ *mixed, _ string, n int) { time.Sleep(mixedStaleAfter + time.Duration(n-1)*6*time.Millisecond) },

	"stop":  func(m *mixed, _ string, _ int) { m.stop() },
	"go":    func(m *mixed, _ string, _ int) { m.proceed() },
	"flood": func(m *mixed, _ string, _ int) { m.flood() },
	"check": func(m *mixed, _ string, _ int) { m.mustBeTrue(0) },

	"away": func(m *mixed, _ string, _ int) { unix.Rename(m.root, m.root+".away") },
	"back": func(m *mixed, _ string, _ int) { m.back() },
	"lose": func(m *mixed, _ string, _ int) { m.loseAll(); os.RemoveAll(m.root) },
	"make": func(m *mixed, _ string, _ int) {
		if os.MkdirAll(filepath.Dir(m.root), 0o755) == nil && os.Mkdir(m.root, 0o755) == nil {
			m.loseAll()
		}
	},
	"replace": func(m *mixed, name string, _ int) {
		next, last := m.root+".next", m.root+".last"
		os.MkdirAll(filepath.Join(next, name), 0o755)
		os.WriteFile(filepath.Join(next, name, name+".daemon.json"), daemondirtest.Sidecar(time.Now(), time.Time{}), 0o644)
		if unix.Rename(m.root, last) == nil {
			m.loseAll()
			unix.Rename(next, m.root)
			os.RemoveAll(last)
		}
	},
	"parentaway": func(m *mixed, _ string, _ int) { unix.Rename(filepath.Dir(m.root), filepath.Dir(m.root)+".away") },
	"parentback": func(m *mixed, _ string, _ int) { m.parentBack() },
	"barroot":    func(m *mixed, _ string, _ int) { os.Chmod(m.root, 0) },
	"openroot":   func(m *mixed, _ string, _ int) { os.Chmod(m.root, 0o755) },
}

func dName(n int) string { return fmt.Sprint("d", n) }

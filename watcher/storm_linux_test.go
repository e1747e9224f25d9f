package watcher

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"runtimegc/registry/daemondir"

	"golang.org/x/sys/unix"
)

// Everything at once, in an order that nobody has thought of. Whatever happened, in the
// end the registry says what is on disk, and every dir is watched.
//
// GCTEST_LONG=1 makes it long; GCTEST_SEED repeats the choices of a run, if not
// their timing.
func TestStorm(t *testing.T) {
	rounds, steps := 4, 150
	if os.Getenv("GCTEST_LONG") != "" {
		rounds, steps = 200, 500
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("GCTEST_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("GCTEST_SEED=%d", seed)
		}
	})
	root := mkdir(t, filepath.Join(t.TempDir(), "parent", "runtime"))
	var lock testLock
	w := start(t, setup{Root: root, Lock: lock.lock})
	var makers [2]*storm
	for i := range makers {
		makers[i] = &storm{w: w, root: root, rand: rand.New(rand.NewPCG(seed, uint64(i)))}
	}
	for range rounds {
		var running sync.WaitGroup
		for _, maker := range makers {
			running.Go(func() {
				for range steps {
					maker.step()
				}
			})
		}
		running.Wait()
		mkdir(t, root)
		left, err := filepath.Glob(filepath.Join(root, daemondir.QuarantinePrefix+"*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range left {
			removeAll(t, dir)
		}
		w.waitEqual()
		w.checkWatched()
		w.waitEqual()
	}
}

// storm is one of several who change the root. Most of what they try fails at times,
// as the others have been there first: errors are part of the storm.
type storm struct {
	w    *running
	root string
	rand *rand.Rand
}

func (s *storm) dir() string { return filepath.Join(s.root, s.name()) }

func (s *storm) name() string { return fmt.Sprint("daemon", s.rand.IntN(10)) }

func (s *storm) step() {
	name := s.name()
	dir := filepath.Join(s.root, name)
	if s.rand.IntN(5) == 0 { // two logs by turns: the kernel merges nothing
		for i := range 2 * noisyEvents {
			os.WriteFile(filepath.Join(dir, fmt.Sprint(i%2, ".log")), []byte("a line"), 0o644)
		}
	}
	switch n := s.rand.IntN(100); {
	case n < 30:
		trySpawn(s.root, name, 1+s.rand.IntN(1000), 0)
	case n < 35:
		os.Mkdir(dir, 0o755)
	case n < 45:
		text := sidecar(s.rand.IntN(1000))
		os.WriteFile(sidecarPath(s.root, name), []byte(text[:s.rand.IntN(len(text)+1)]), 0o644)
	case n < 50:
		os.Truncate(filepath.Join(dir, daemondir.PIDFileName), int64(s.rand.IntN(3)))
	case n < 53:
		os.Remove(filepath.Join(dir, daemondir.PIDFileName))
	case n < 56:
		os.Rename(sidecarPath(s.root, s.name()), sidecarPath(s.root, name))
	case n < 64:
		os.RemoveAll(dir)
	case n < 70:
		unix.Rename(dir, s.dir())
	case n < 76:
		unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, s.dir(), unix.RENAME_EXCHANGE)
	case n < 80:
		os.RemoveAll(dir)
		trySpawn(s.root, name, 1+s.rand.IntN(1000), 0)
	case n < 83:
		outside := filepath.Join(filepath.Dir(s.root), "outside"+name)
		unix.Rename(dir, outside)
		unix.Rename(outside, s.dir())
		os.RemoveAll(outside)
	case n < 87:
		quarantine := filepath.Join(s.root, daemondir.QuarantinePrefix+name)
		unix.Rename(dir, quarantine)
		if s.rand.IntN(2) == 0 {
			unix.Rename(quarantine, dir)
		}
		os.RemoveAll(quarantine)
	case n < 90:
		file := filepath.Join(s.root, strings.ToUpper(name))
		os.WriteFile(file, nil, 0o644)
		os.Remove(file)
	case n < 93: // a dir that outlives its name
		held, err := os.Open(dir)
		if err == nil {
			os.RemoveAll(dir)
			trySpawn(s.root, name, 1, 0)
			held.Close()
		}
	case n < 95:
		s.w.overflow()
	case n < 96:
		os.RemoveAll(s.root)
		os.MkdirAll(s.root, 0o755)
	case n < 98:
		away := s.root + ".away"
		unix.Rename(s.root, away)
		unix.Rename(away, s.root)
	case n < 99:
		away := filepath.Dir(s.root) + ".away"
		unix.Rename(filepath.Dir(s.root), away)
		unix.Rename(away, filepath.Dir(s.root))
	default:
		next, last := s.root+".next", s.root+".last"
		os.Mkdir(next, 0o755)
		trySpawn(next, name, 1, 0)
		unix.Rename(s.root, last)
		unix.Rename(next, s.root)
		os.RemoveAll(last)
	}
}

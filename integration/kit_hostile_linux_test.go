package integration

// A root in which everything is wrong that can be, and what must come of it.

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// maxResident is what a watch may have had resident at most, in KiB.
const maxResident = 64 << 10

// hostile is a hostile root, what it could lead to, and what must become of each of
// its entries.
type hostile struct {
	*spawner
	precious string // a directory beside the root, to which symlinks lead
	before   tree   // of it
	stays    map[string]tree
	goes     []string
	back     []string // quarantined dirs that are given their name back
}

// newHostile returns an empty root with a precious directory beside it.
func newHostile(t *testing.T) *hostile {
	t.Helper()
	return newHostileAt(t, newSpawner(t, runtimeRoot(t)))
}

// newHostileInMemory is newHostile for a root where files are made and removed by the thousand.
func newHostileInMemory(t *testing.T) *hostile {
	t.Helper()
	return newHostileAt(t, newSpawnerInMemory(t))
}

func newHostileAt(t *testing.T, s *spawner) *hostile {
	t.Helper()
	h := &hostile{spawner: s, stays: make(map[string]tree)}
	h.precious = filepath.Join(filepath.Dir(s.root), "precious")
	h.check(os.MkdirAll(filepath.Join(h.precious, "sub", "below"), 0o755))
	h.write(filepath.Join(h.precious, "sub", "below", "note"), "a note")
	h.write(filepath.Join(h.precious, "tool"), "#!/bin/sh\n")
	h.write(filepath.Join(h.precious, "sidecar"), string(daemondirtest.Sidecar(ago(stale), ago(stale))))
	// Whoever follows a pid file to it finds the daemon alive.
	h.write(filepath.Join(h.precious, "pid"), strconv.Itoa(os.Getpid()))
	return h
}

func (h *hostile) check(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *hostile) write(path, text string) {
	h.t.Helper()
	h.check(os.WriteFile(path, []byte(text), 0o644))
}

// due makes a daemon dir that is to be removed, and returns its path.
func (h *hostile) due(name string) string {
	h.t.Helper()
	h.leave(name, daemondirtest.Sidecar(ago(stale), ago(stale)), "")
	h.goes = append(h.goes, name)
	return h.dir(name)
}

// mkdir makes a dir that is to stay, and returns its path.
func (h *hostile) mkdir(name string) string {
	h.t.Helper()
	h.check(os.Mkdir(h.dir(name), 0o755))
	h.keep(name)
	return h.dir(name)
}

// keep notes that the entry of that name is to stay.
func (h *hostile) keep(name string) { h.stays[name] = nil }

// shapes is a snapshot of what is at path and below it without its content, of which
// there may be any amount.
func shapes(t testing.TB, path string) tree {
	t.Helper()
	s := make(tree)
	err := filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if entry == nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil && err != unix.EACCES {
			return err
		}
		s[path] = fmt.Sprint(st.Mode, st.Ino, st.Size, st.Mtim, st.Rdev)
		return nil // of a dir that may not be read: itself
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// mustBeServed waits until the hostile entries have become what they must.
func (h *hostile) mustBeServed(t *testing.T) {
	t.Helper()
	for _, name := range h.goes {
		daemondirtest.Eventually(t, fmt.Sprintf("%q is removed", name), func() bool {
			_, err := os.Lstat(h.dir(name))
			return os.IsNotExist(err)
		})
	}
	for _, name := range h.back {
		daemondirtest.Eventually(t, fmt.Sprintf("%q is given its name back", name), func() bool {
			_, err := os.Lstat(h.sidecar(name))
			return err == nil
		})
	}
}

// mustBeUnharmed fails the test if anything was touched that must stay.
func (h *hostile) mustBeUnharmed(t *testing.T) {
	t.Helper()
	h.before.mustEqual(t, snapshot(t, h.precious))
	known := make(map[string]bool)
	for name, before := range h.stays {
		known[name] = true
		before.mustEqual(t, shapes(t, h.dir(name)))
	}
	for _, name := range h.back {
		known[name] = true
	}
	left, err := os.ReadDir(h.root)
	h.check(err)
	for _, entry := range left {
		if !known[entry.Name()] {
			t.Errorf("left in the root: %q", entry.Name())
		}
	}
}

// mustBeListed runs what only looks. It must end, say what it says in plain text, and
// change nothing.
func (h *hostile) mustBeListed(t *testing.T) {
	t.Helper()
	before := shapes(t, h.root)
	for _, args := range [][]string{{"list"}, {"list", "--json"}, {"prune", "--dry-run"}, {"prune", "--dry-run", "--json"}} {
		o := run(t, append(args, "--root", h.root, "--log-level", "debug")...)
		lines := mustBePrintable(t, "the log of "+args[0], o.stderr)
		if o.code != 0 {
			t.Errorf("%q: exit code %d, want 0: %s", args, o.code, lines[len(lines)-1])
		}
		if args[len(args)-1] != "--json" {
			mustBePrintable(t, args[0], o.stdout)
		}
	}
	listJSON(t, h.root)
	before.mustEqual(t, shapes(t, h.root))
}

var highWater = regexp.MustCompile(`(?m)^VmHWM:\s*(\d+) kB$`)

// mustBeSmall fails the test if the process has had too much memory.
func mustBeSmall(t *testing.T, process *os.Process) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	found := highWater.FindSubmatch(status)
	if found == nil {
		t.Fatalf("no VmHWM in %s", status)
	}
	kib, _ := strconv.Atoi(string(found[1])) // digits
	t.Logf("the watch has had %d KiB resident at most (race detector: %v)", kib, raceEnabled)
	if kib > maxResident && !raceEnabled {
		t.Errorf("the watch has had %d KiB resident, want at most %d", kib, maxResident)
	}
}

// mustServe takes an ordinary daemon of that name through its life under the watch.
func (h *hostile) mustServe(w *watchProcess, name string) {
	w.t.Helper()
	d := h.spawn(name)
	if e := w.next("daemon.live", name); e.number("pid") != int64(d.pid) {
		w.t.Errorf("want pid %d: %s", d.pid, e.line)
	}
	w.next("sidecar.refreshed", name)
	h.check(d.complete())
	d.kill()
	w.next("daemon.exited", name)
	w.next("daemon.removed", name)
}

package integration

// What a watch has said to be there, and what there is: the comparison at the end of
// every storm.

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
	"runtimegc/watcher"
)

// generous is what an overflow may take on a machine that is busy with other things.
const generous = 30 * time.Second

// follower knows what a watch has said to be there, by its log.
type follower struct {
	w    *watchProcess
	from int            // lines that were taken in
	said map[string]int // by name: the pid that was last said to live, 0 if none does
	over map[string]int // by name: the pid whose exit was last said, 0 if none was since daemon.added
	dead map[death]bool // whose exit was said
	odd  []string       // lines that contradict or repeat what had been said
	last time.Time      // of the last daemon.added or daemon.gone
	news time.Time      // when the last line arrived that tells of a change
}

// death is the end of one process, as it was said.
type death struct {
	daemon string
	pid    int
}

func follow(w *watchProcess) *follower {
	return &follower{w: w, said: make(map[string]int), over: make(map[string]int), dead: make(map[death]bool)}
}

// catchUp takes in what was said since.
func (f *follower) catchUp() {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	for ; f.from < len(f.w.events); f.from++ {
		e := f.w.events[f.from]
		if daemondir.Quarantined(e.daemon) {
			continue // a leftover whose name is another daemon's: nothing is said of that
		}
		pid, known := f.said[e.daemon]
		said, ok := int(e.number("pid")), true
		switch e.event {
		case "daemon.added":
			ok = !known
			f.said[e.daemon], f.over[e.daemon], f.last = 0, 0, e.time
		case "daemon.live":
			ok = known && said != pid && !f.dead[death{e.daemon, said}]
			f.said[e.daemon] = said
		case "daemon.exited":
			// A life may be over before it is seen; then it follows the one that was, if one was.
			ok = known && (said == pid || int(e.number("previous_pid")) == pid || pid == 0 && said != f.over[e.daemon])
			f.said[e.daemon], f.over[e.daemon], f.dead[death{e.daemon, said}] = 0, said, true
		case "daemon.gone", "daemon.removed":
			ok = known
			delete(f.said, e.daemon)
			f.last = e.time
		}
		if !ok {
			f.odd = append(f.odd, e.line)
		}
		// What is invalid is said when it has settled, long after the change.
		if e.level != "debug" && e.event != "sweep.done" && e.event != "sidecar.invalid" {
			f.news = e.arrived
		}
	}
}

// standing is what a daemon dir on disk says of its daemon.
type standing struct {
	pid      int  // of its live process, 0: none
	unproven bool // it names no process: one that was verified before may be said to live
	barred   bool // nor may it be read: it may or may not have been said
}

// scan reads root anew. lives says of a pid whether it is a live daemon's; the dirs are
// those of real daemons, so a live pid in a pid file is the daemon's.
func scan(t testing.TB, root string, lives func(pid int) bool) map[string]standing {
	t.Helper()
	fresh := registry.New(root)
	noError(t, watcher.Scan(context.Background(), fresh))
	found := make(map[string]standing)
	for _, name := range fresh.Names() {
		e, _ := fresh.Get(name)
		var s standing
		s.barred = e.Problem == daemondir.ProblemPermission
		for file, needed := range map[string]uint32{"": 0o500, daemondir.SidecarName(name): 0o400, daemondir.PIDFileName: 0o400} {
			// The test may be root, whom no mode keeps out.
			var st unix.Stat_t
			err := unix.Lstat(filepath.Join(root, name, file), &st)
			s.barred = s.barred || err == nil && st.Mode&needed != needed
		}
		if daemondir.Quarantined(name) || e.Sidecar == (daemondir.Stamp{}) && !s.barred {
			continue
		}
		s.unproven = s.barred || e.Problem != daemondir.ProblemNone || !e.PID.Known
		if !s.unproven && lives(int(e.PID.N)) {
			s.pid = int(e.PID.N)
		}
		found[name] = s
	}
	return found
}

// nobodyLives is for roots whose daemons are all dead.
func nobodyLives(int) bool { return false }

// diff returns what is missing, left over or wrong in what was said up to now, or "".
func (f *follower) diff(disk map[string]standing, lives func(pid int) bool) string {
	f.catchUp()
	var diff []string
	missing, extra := 0, 0
	for name, s := range disk {
		pid, known := f.said[name]
		switch {
		case !known && !s.barred:
			missing++
			diff = append(diff, fmt.Sprintf("%q was not said", name))
		case known && pid != s.pid && !(s.unproven && lives(pid)):
			diff = append(diff, fmt.Sprintf("%q lives as %d, and was said to as %d (0: not)", name, s.pid, pid))
		}
	}
	for name := range f.said {
		if _, ok := disk[name]; !ok {
			extra++
			diff = append(diff, fmt.Sprintf("%q is not on disk", name))
		}
	}
	if diff == nil {
		return ""
	}
	slices.Sort(diff)
	return fmt.Sprintf("of %d dirs %d are missing, %d left over:\n%s", len(disk), missing, extra,
		strings.Join(diff[:min(10, len(diff))], "\n"))
}

// mustReach waits until what was said is what there is in root, which is at rest, and
// all of it was said once.
func (f *follower) mustReach(t *testing.T, root string, lives func(pid int) bool) {
	t.Helper()
	disk, diff := scan(t, root, lives), ""
	if !within(generous, func() bool { diff = f.diff(disk, lives); return diff == "" }) {
		t.Errorf("not within %v: %s", generous, diff)
	}
	f.mustBeConsistent(t)
}

// mustBeConsistent fails the test for lines that contradict or repeat others.
func (f *follower) mustBeConsistent(t testing.TB) {
	t.Helper()
	for _, line := range f.odd[:min(3, len(f.odd))] {
		t.Errorf("it contradicts or repeats what was said: %s", line)
	}
}

// daemonDirs returns the names of the daemon dirs in root, whatever is in them.
func daemonDirs(t testing.TB, root string) []string {
	t.Helper()
	fresh := registry.New(root)
	noError(t, watcher.Scan(context.Background(), fresh))
	names := fresh.Names()
	return slices.DeleteFunc(slices.Sorted(slices.Values(names)), daemondir.Quarantined)
}

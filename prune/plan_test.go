package prune

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"runtimegc/prune/internal/fsys"
	"runtimegc/prune/internal/proc"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// list, prune --dry-run and prune say the same of the same dirs: what is planned is what a
// dry run finds, and what is done, but for what only a removal can find out.
func TestPlanIsWhatIsDone(t *testing.T) {
	root := t.TempDir()
	type fate struct {
		name   string
		make   func(name string)
		state  State
		decide Decision
		reason Reason
		found  Reason // why a removal, and nobody before it, finds that the dir must stay; empty: it does not
	}
	dead := func(age time.Duration) func(string) {
		return func(name string) { daemondirtest.MakeDead(t, root, name, age) }
	}
	leave := func(sidecar, pid string) func(string) {
		return func(name string) { daemondirtest.Make(t, root, name, sidecar, pid) }
	}
	live := func(name string) { daemondirtest.MakeLive(t, root, name) }
	empty := func(name string) {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	leftover := func(make func(string)) func(string) {
		return func(hidden string) {
			name := filepath.Join(root, nameOf(hidden))
			make(nameOf(hidden))
			if err := os.Rename(name, filepath.Join(root, hidden)); err != nil {
				t.Fatal(err)
			}
		}
	}
	const due = 2 * time.Hour
	old, gone, self := sidecarText(1_000_000_000_000, 1_000_000_000_000), strconv.Itoa(daemondirtest.DeadPID), strconv.Itoa(os.Getpid())
	fates := []fate{
		{"live", live, Alive, Refresh, Running, ""},
		{"keep-live", live, Alive, Refresh, Running, ""},
		{"due", dead(due), Dead, Remove, Exited, ""},
		{"no-pid", leave(old, ""), Dead, Remove, NoPID, ""},
		{"recent", dead(time.Minute), Dead, Keep, NotStale, ""},
		{"no-timestamp", leave("{}", gone), Dead, Keep, NoTimestamp, ""},
		{"keep-due", dead(due), Dead, Keep, Protected, ""},
		{"unknown", leave(old, self), Unknown, Keep, UnknownLiveness, ""},

		{"no-sidecar", empty, Invalid, Keep, NotADaemonDir, ""},
		{"empty", leave("", ""), Invalid, Keep, "sidecar_empty", ""},
		{"cut", leave(old[:9], gone), Invalid, Keep, "sidecar_not_json", ""},
		{"list", leave("[]", gone), Invalid, Keep, "sidecar_not_object", ""},
		{"large", leave(old+strings.Repeat(" ", daemondir.MaxSidecarSize), gone), Invalid, Keep, "sidecar_too_large", ""},
		{"dir", func(name string) { empty(name); empty(name + "/" + name + ".daemon.json") }, Invalid, Keep, "sidecar_not_regular", ""},

		{".pruned-x", leftover(dead(due)), Dead, Remove, Leftover, ""},
		{".pruned-done", empty, Invalid, Remove, Leftover, ""},
		{".pruned-new", leftover(dead(time.Minute)), Dead, Keep, NotStale, ""},
		{".pruned-keep-x", leftover(dead(due)), Dead, Keep, Protected, ""},
		{".pruned-torn", leftover(leave("{", gone)), Invalid, Keep, "sidecar_not_json", ""},
	}
	if runtime.GOOS == "linux" {
		locked := fate{"locked", dead(due), Dead, Keep, Locked, ""}
		opened := fate{"opened", dead(due), Dead, Remove, Exited, ""}
		if portable {
			// There is no table of locks to be looked up, and a plan tries none; but whoever holds
			// one has the dir open.
			locked.decide, locked.reason, locked.found = Keep, InUse, Locked
		}
		probe := daemondirtest.MakeDead(t, t.TempDir(), "probe", due)
		if hasLeases(t, probe) {
			// That this very process has the sidecar open is told by the lease, and a plan takes
			// none.
			opened.found = InUse
		}
		fates = append(fates, locked, opened, fate{"used", dead(due), Dead, Keep, InUse, ""},
			fate{".pruned-held", leftover(live), Alive, Keep, InUse, ""})
	}
	for _, f := range fates {
		f.make(f.name)
	}
	if runtime.GOOS == "linux" {
		sidecar, err1 := os.Open(daemondirtest.Dir{Root: root, Name: "opened"}.Sidecar())
		lock, err2 := os.Open(filepath.Join(root, "locked"))
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		defer sidecar.Close()
		// The lock is the open file's: another process's alone, once ours is closed.
		cmd := exec.Command("sleep", "1000")
		cmd.Dir, cmd.Stdin = filepath.Join(root, "used"), lock
		if err := errors.Join(fsys.Flock(int(lock.Fd())), cmd.Start(), lock.Close()); err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}()
	}

	var ahead time.Duration
	clock := proc.NewClockOf(func() (time.Duration, bool) { return ahead, true })
	ahead = time.Hour                    // so a start that does not match proves nothing
	now := time.Now().Add(time.Second)   // a sidecar of this very millisecond needs no refresh
	collector := func(dry bool) *bench { // whose registry is the root as it is
		b := newBenchIn(t, root, Options{Protect: []string{"keep-*"}, DryRun: dry})
		b.now, b.clock = func() time.Time { return now }, clock
		b.scan()
		return b
	}
	byName := func(rows []Row) map[string]Row {
		found := make(map[string]Row)
		for _, row := range rows {
			row.StartedAt = daemondir.Timestamp{} // reckoned anew each time, to a tick
			found[row.Name] = row
		}
		if len(rows) != len(fates) || len(found) != len(fates) {
			t.Errorf("%d rows of %d dirs, want %d", len(rows), len(found), len(fates))
		}
		return found
	}
	sweep := func(dry bool) map[string]Row {
		result, err := collector(dry).Sweep(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return byName(result.Rows)
	}
	planned := byName(collector(false).Plan(t.Context()).Rows)
	foreseen := sweep(true)
	done := sweep(false)
	for _, f := range fates {
		row := planned[f.name]
		if row.State != f.state || row.Decision != f.decide || row.Reason != f.reason {
			t.Errorf("%s is planned as %+v, want %s, %s because %s", f.name, row, f.state, f.decide, f.reason)
		}
		if foreseen[f.name] != row {
			t.Errorf("%s is planned as\n\t%+v, in a dry run\n\t%+v", f.name, row, foreseen[f.name])
		}
		if f.found != "" {
			row.Decision, row.Reason = Keep, f.found
			row.Details, row.UsedBy = done[f.name].Details, done[f.name].UsedBy // what a plan cannot know
		}
		if done[f.name] != row {
			t.Errorf("%s is planned as\n\t%+v, and done\n\t%+v", f.name, row, done[f.name])
		}

		// And it is as the row says.
		d := daemondirtest.Dir{Root: root, Name: f.name}
		putBack := daemondir.Quarantined(f.name) && row.Decision == Keep && row.State != Invalid
		if there := row.Decision != Remove && !putBack; d.Exists() != there {
			t.Errorf("%s is there: %v, want %v", f.name, d.Exists(), there)
		}
		if putBack && !(daemondirtest.Dir{Root: root, Name: nameOf(f.name)}).Exists() {
			t.Errorf("%s was not put back", f.name)
		}
		if row.Decision == Refresh && entryOf(t, d).LastSeen != daemondir.At(unixMS(now)) {
			t.Errorf("%s was last seen at %v", f.name, entryOf(t, d).LastSeen)
		}
	}
}

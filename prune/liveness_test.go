package prune

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
)

func TestClassify(t *testing.T) {
	const spawned = 1_700_000_000_000
	now := time.UnixMilli(spawned + 1_000_000)
	at := daemondir.At
	for _, row := range []struct {
		rule    string
		f       facts
		spawned daemondir.Timestamp
		state   State
		reason  Reason
	}{
		{"no process", facts{}, at(spawned), Dead, Exited},
		{"zombie, whatever its start", facts{exists: true, zombie: true, start: at(spawned)}, at(spawned), Dead, Zombie},
		{"thread of another process", facts{exists: true, thread: true, start: at(spawned)}, at(spawned), Dead, PIDReused},
		{"start matches", facts{exists: true, start: at(spawned)}, at(spawned), Alive, Running},
		{"start 5 s before", facts{exists: true, start: at(spawned - 5000)}, at(spawned), Alive, Running},
		{"start 5 s after", facts{exists: true, start: at(spawned + 5000)}, at(spawned), Alive, Running},
		{"start matches, exe elsewhere: a daemon without a trampoline", facts{exists: true, start: at(spawned), exe: exeElsewhere}, at(spawned), Alive, Running},
		{"start too early, exe elsewhere: reused", facts{exists: true, start: at(spawned - 5001), exe: exeElsewhere}, at(spawned), Dead, PIDReused},
		{"start too late, exe elsewhere: reused", facts{exists: true, start: at(spawned + 5001), exe: exeElsewhere}, at(spawned), Dead, PIDReused},
		{"start does not match, exe inside: a clock step or a slow spawner", facts{exists: true, start: at(spawned + 9999), exe: exeInside}, at(spawned), Alive, Running},
		{"start does not match, exe unreadable", facts{exists: true, start: at(spawned + 9999)}, at(spawned), Unknown, UnknownLiveness},
		{"start unreadable, exe inside", facts{exists: true, exe: exeInside}, at(spawned), Alive, Running},
		{"start unreadable, exe elsewhere", facts{exists: true, exe: exeElsewhere}, at(spawned), Unknown, UnknownLiveness},
		{"all unreadable: hidepid", facts{exists: true, problem: os.ErrPermission}, at(spawned), Unknown, UnknownLiveness},
		{"no spawned_at: any process will do, as in the original", facts{exists: true, start: at(spawned + 9999), exe: exeElsewhere}, daemondir.Timestamp{}, Alive, Running},
		{"start in 1970: uptime unreadable", facts{exists: true, start: at(1000), exe: exeElsewhere}, at(spawned), Unknown, UnknownLiveness},
		{"start in 1970 matches a spawned_at in 1970: still no start", facts{exists: true, start: at(1000), exe: exeElsewhere}, at(1000), Unknown, UnknownLiveness},
		{"start in the future: a container's uptime", facts{exists: true, start: at(spawned + 2_000_000), exe: exeElsewhere}, at(spawned), Unknown, UnknownLiveness},
		{"start in the future, exe inside", facts{exists: true, start: at(spawned + 2_000_000), exe: exeInside}, at(spawned), Alive, Running},
		{"start does not match, exe elsewhere, but the clock was set", facts{exists: true, stepped: true, start: at(spawned + 9999), exe: exeElsewhere}, at(spawned), Unknown, UnknownLiveness},
		{"could not be asked", facts{err: errors.New("no")}, at(spawned), Unknown, UnknownLiveness},
		{"spawned_at at the end of time", facts{exists: true, start: at(spawned), exe: exeElsewhere}, at(math.MaxUint64), Dead, PIDReused},
	} {
		t.Run(row.rule, func(t *testing.T) {
			l := classify(row.f, row.spawned, now)
			if l.State != row.state || l.Reason != row.reason {
				t.Errorf("got %s because %s, want %s because %s", l.State, l.Reason, row.state, row.reason)
			}
			if (l.State == Unknown) != (l.Err != nil) {
				t.Errorf("state %s with error %v: unknown, and only that, says why", l.State, l.Err)
			}
		})
	}
}

func TestLocate(t *testing.T) {
	root := t.TempDir()
	d := newDir(t, root, "a", "{}", "")
	other := newDir(t, root, "ab", "{}", "")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(root, link); err != nil {
		t.Skipf("no symlinks: %v", err)
	}
	id := d.entry().Dir
	for _, row := range []struct {
		rule, exe, dir string
		want           whereabouts
	}{
		{"in the dir", filepath.Join(d.path(), "a"), d.path(), exeInside},
		{"its link gone", filepath.Join(d.path(), "a (deleted)"), d.path(), exeInside},
		{"below the dir", filepath.Join(d.path(), "bin", "x"), d.path(), exeInside},
		{"in a dir whose name begins alike", filepath.Join(other.path(), "ab"), d.path(), exeElsewhere},
		{"elsewhere", "/", d.path(), exeElsewhere},
		{"the root is reached by a symlink, the kernel names the real one", filepath.Join(d.path(), "a"), filepath.Join(link, "a"), exeInside},
		{"in a directory that is not there: another mount namespace's", "/no/such/dir/a", d.path(), exeUnknown},
	} {
		t.Run(row.rule, func(t *testing.T) {
			if row.dir != d.path() && id == (daemondir.FileID{}) {
				t.Skip("directories have no identity on this system")
			}
			if got := locate(row.exe, row.dir, id); got != row.want {
				t.Errorf("got %d, want %d", got, row.want)
			}
		})
	}
}

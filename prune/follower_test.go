package prune

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// follow makes b a follower until the lock on the root is released.
func (b *bench) follow() (release func()) {
	b.t.Helper()
	if runtime.GOOS == "windows" {
		b.t.Skip("there are no locks on Windows")
	}
	holder, err := fsys.OpenLock(b.root)
	if err == nil {
		err = holder.Take()
	}
	if err == nil {
		b.lock.lock, err = fsys.OpenLock(b.root)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.lock.following.Store(true)
	b.lock.generation++
	b.locked = true
	b.t.Cleanup(func() { b.lock.lock.Close() })
	return holder.Close
}

// A follower plans no removal, its worker carries none out, and both do from the sweep on
// that gets the lock.
func TestFollowerRemovesNothing(t *testing.T) {
	var roles []Role
	b := newBench(t, Options{OnRole: func(r Role) { roles = append(roles, r) }})
	d := daemondirtest.MakeDead(t, b.root, "due", 2*time.Hour)
	daemondirtest.MakeLive(t, b.root, "live")
	left := filepath.Join(b.root, daemondir.QuarantinePrefix+"left")
	if err := os.Mkdir(left, 0o755); err != nil {
		t.Fatal(err)
	}
	release := b.follow()
	stats, rows := b.sweep()
	if stats.Removed != 0 || stats.Failed != 0 || stats.Kept != 1 || stats.Refreshed != 1 {
		t.Errorf("%+v, want 1 kept and 1 refreshed", stats)
	}
	if len(rows) != 2 || rows["due"].Decision != Keep || rows["due"].Reason != NoPID && rows["due"].Reason != Exited {
		t.Errorf("%+v", rows)
	}
	for _, row := range b.Plan(t.Context()).Rows {
		if row.Decision == Remove {
			t.Errorf("%q is planned to be removed", row.Name)
		}
	}
	w := &worker{Collector: b.Collector}
	defer w.close()
	for kind, name := range map[kind]string{removing: "due", finishing: filepath.Base(left)} {
		it := b.inspect(name, time.Now(), time.Hour)
		if r := w.do(t.Context(), task{kind: kind, items: []item{it}, now: time.Now(), staleAfter: time.Hour}); len(r.outcomes) > 0 {
			t.Errorf("the worker removed %q: %+v", name, r.outcomes)
		}
	}
	for _, path := range []string{d.Path(), left} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	if got := len(b.log.Events("daemon.kept")); got > 0 || roles != nil {
		t.Errorf("%d times daemon.kept; roles %q", got, roles)
	}

	release()
	if stats, _ := b.sweep(); stats.Removed != 2 {
		t.Errorf("%+v, want 2 removed", stats)
	}
	if !slices.Equal(roles, []Role{RoleCollector}) || len(b.log.Events("root.taken_over")) != 1 {
		t.Errorf("roles %q, logged %v", roles, b.log.Events("root.taken_over"))
	}
}

// A root that was lost while we followed in it is nobody's: nothing is refreshed there, and
// nothing is taken over.
func TestFollowerLosesRoot(t *testing.T) {
	b := newBench(t, Options{})
	release := b.follow()
	release()
	b.lock.released = true
	if _, _, ok := b.lock.use(false); ok || b.lock.takeOver() {
		t.Error("the role is used after its release")
	}
}

package prune

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// sideBySide returns two removers of one pass over a root with the stale dirs a and b.
func sideBySide(t *testing.T) (m, other *remover, a, b daemondirtest.Dir) {
	t.Helper()
	if portable {
		t.Skip("only Linux tells")
	}
	root := filepath.Join(t.TempDir(), "root")
	a = daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	b = daemondirtest.MakeDead(t, root, "b", 2*time.Hour)
	time.Sleep(50 * time.Millisecond) // they are older than the first look
	w := &worker{Collector: testCollector(t, root), staleAfter: time.Hour}
	t.Cleanup(w.close)
	m, err := w.openRemover()
	if err != nil {
		t.Fatal(err)
	}
	second, ok := w.another()
	if !ok {
		t.Fatal("there is no other")
	}
	t.Cleanup(second.close)
	return m, second.remover, a, b
}

// What one remover changes in the root is no move of it to another, which looks for users just
// then, whatever else is done beside the root.
func TestLookBesideRemovals(t *testing.T) {
	for _, before := range []string{"judged", "removed sidecar"} { // before a rename, and before the removal of the dir
		t.Run(before, func(t *testing.T) {
			m, other, a, _ := sideBySide(t)
			entry := entryOf(t, a)
			reached, goOn, removed := make(chan struct{}), make(chan struct{}), make(chan removal, 1)
			other.reached = func(step string) {
				if step == before {
					close(reached)
					<-goOn
				}
			}
			go func() { removed <- other.remove(entry) }()
			<-reached
			time.Sleep(50 * time.Millisecond) // its rename was before the look
			beside := filepath.Join(filepath.Dir(m.root.RealPath()), "beside")
			looks := 0
			m.reached = func(step string) {
				switch step {
				case "looking for users":
					looks++
					if looks == 1 {
						close(goOn)
					}
					daemondirtest.WriteFile(t, beside, "")
				case "looked for users":
					time.Sleep(50 * time.Millisecond) // in which the root would have been changed
					if err := os.Remove(beside); err != nil {
						t.Error(err)
					}
				}
			}
			if err := m.findUsers(); err != nil || looks != 1 {
				t.Errorf("after %d looks: %v", looks, err)
			}
			if r := <-removed; r.kept != "" || a.Exists() {
				t.Errorf("%+v", r)
			}
		})
	}
}

// The process table is read once for all removers of a pass, but not for a dir that has
// changed since: that one needs a look of its own.
func TestLooksAreShared(t *testing.T) {
	m, other, a, b := sideBySide(t)
	looks := 0
	m.reached = func(step string) {
		if step == "looking for users" {
			looks++
		}
	}
	other.reached = m.reached
	outdate := func() {
		for _, l := range []*look{&m.look, &other.look, &m.shared.last} {
			l.usersAt = time.Now().Add(-time.Hour)
		}
	}
	check := func(m *remover, d daemondirtest.Dir, kept Reason, want int) {
		t.Helper()
		if f := m.checkUsers(&attempt{e: entryOf(t, d)}); f.kept != kept || f.err != nil || looks != want {
			t.Errorf("after %d looks: %+v", looks, f)
		}
	}
	outdate()
	check(m, a, "", 1)
	check(other, b, "", 1)
	outdate()
	check(other, a, "", 2)
	check(m, b, "", 2)
	outdate()
	check(m, a, "", 3)
	outdate()
	check(other, b, "", 4)

	workIn(t, b.Path())
	for _, name := range []string{"away", "b"} { // its change time is that of a rename
		if err := os.Rename(b.Path(), filepath.Join(b.Root, name)); err != nil {
			t.Fatal(err)
		}
		b.Name = name
	}
	check(m, b, InUse, 5)
}

package prune

import (
	"os"
	"testing"
	"time"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

func TestProtectPatterns(t *testing.T) {
	for _, row := range []struct {
		pattern, name string
		want          bool
	}{
		{"web-*", "web-1", true},
		{"web-*", "web-", true},
		{"web-*", "my-web-1", false},
		{"*", "a\nb", true},
		{"db?", "db1", true},
		{"db?", "db", false},
		{"[a-c]x", "bx", true},
		{`\*`, "*", true},
		{`\*`, "a", false},
		{"exact", "exact", true},
		{"web-*", ".pruned-web-1", true}, // by the name it had
		{".pruned-*", "web-1", false},
	} {
		c, err := New(Options{Registry: registry.New("/x"), Protect: []string{"no", row.pattern}})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.protectedBy(daemondir.Entry{Name: row.name}) != ""; got != row.want {
			t.Errorf("%q matches %q: %v, want %v", row.pattern, row.name, got, row.want)
		}
	}
	for _, bad := range []string{"", "[", "a[", "[]a]", `a\`, "x[b-"} {
		if CheckPattern(bad) == nil {
			t.Errorf("%q is accepted", bad)
		}
		if _, err := New(Options{Registry: registry.New("/x"), Protect: []string{"fine", bad}}); err == nil {
			t.Errorf("New accepts %q", bad)
		}
	}
}

// A protected dir is never removed, is said to be kept once it is due, and is refreshed
// while its daemon lives.
func TestProtectedDirs(t *testing.T) {
	b := newBench(t, Options{Protect: []string{"keep-*", "other"}})
	due := daemondirtest.MakeDead(t, b.root, "keep-due", 2*time.Hour)
	recent := daemondirtest.MakeDead(t, b.root, "keep-recent", time.Minute)
	gone := daemondirtest.MakeDead(t, b.root, "goes", 2*time.Hour)
	live, _ := daemondirtest.MakeLive(t, b.root, "keep-live")
	seen := entryOf(t, live).LastSeen
	daemondirtest.Eventually(t, "a millisecond has passed", func() bool { return uint64(time.Now().UnixMilli()) > seen.MS })

	b.scan()
	for _, row := range b.Plan(t.Context()).Rows {
		if kept := row.Name != gone.Name; (row.Decision == Remove) == kept {
			t.Errorf("list says %s for %s because %s", row.Decision, row.Name, row.Reason)
		}
	}
	stats, rows := b.sweep()
	if !due.Exists() || !recent.Exists() || gone.Exists() || stats.Removed != 1 {
		t.Fatalf("protected ones there: %v, %v; the other: %v; %+v", due.Exists(), recent.Exists(), gone.Exists(), stats)
	}
	for _, d := range []daemondirtest.Dir{due, recent} {
		if row := rows[d.Name]; row.State != Dead || row.Decision != Keep || row.Reason != Protected {
			t.Errorf("%s is %s, to %s because %s", d.Name, row.State, row.Decision, row.Reason)
		}
	}
	if row := rows[live.Name]; row.Decision != Refresh || entryOf(t, live).LastSeen.MS <= seen.MS {
		t.Errorf("the live one: %s because %s, last seen %v, before %v", row.Decision, row.Reason, entryOf(t, live).LastSeen, seen)
	}
	b.sweep()
	kept := b.log.Events("daemon.kept")
	if len(kept) != 1 || kept[0]["daemon"] != due.Name || kept[0]["reason"] != "protected" {
		t.Errorf("logged %v, want that %s is kept, once", kept, due.Name)
	}
}

// What a removal had moved away before its name was protected is put back.
func TestProtectedLeftover(t *testing.T) {
	b := newBench(t, Options{Protect: []string{"keep"}})
	d := daemondirtest.MakeDead(t, b.root, "keep", 2*time.Hour)
	if err := os.Rename(d.Path(), d.Path()+"-x"); err != nil {
		t.Fatal(err)
	}
	hidden := daemondirtest.Dir{Root: b.root, Name: daemondir.QuarantinePrefix + d.Name}
	if err := os.Rename(d.Path()+"-x", hidden.Path()); err != nil {
		t.Fatal(err)
	}
	b.sweep()
	if !d.Exists() || hidden.Exists() {
		t.Errorf("put back: %v, still hidden: %v", d.Exists(), hidden.Exists())
	}
}

// A mark in the dir protects it, however it got there and whatever the flags, until it is
// removed; also when it is made after the dir was judged.
func TestProtectedByAMark(t *testing.T) {
	b := newBench(t, Options{})
	d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	change := func(what func(root, name string) (bool, error)) {
		t.Helper()
		if changed, err := what(b.root, "a"); err != nil || !changed {
			t.Fatalf("changed: %v, %v", changed, err)
		}
	}
	unmarked := entryOf(t, d)
	change(daemondir.Protect)
	b.scan()
	if rows := b.Plan(t.Context()).Rows; rows[0].Reason != Protected || rows[0].ProtectedBy == "" {
		t.Errorf("list says %+v", rows[0])
	}
	if x, _ := b.Explain("a"); x.Reason != Protected {
		t.Errorf("explained as %+v", x)
	}
	if _, rows := b.sweep(); !d.Exists() || rows["a"].Reason != Protected {
		t.Fatalf("there: %v; %+v", d.Exists(), rows["a"])
	}
	// Judged by an entry from before it was marked.
	if r := newTestRemover(t, b.root, false).remove(unmarked); !d.Exists() || r.kept == "" {
		t.Errorf("there: %v; kept because %q", d.Exists(), r.kept)
	}
	change(daemondir.Unprotect)
	b.wantRemoved(d)
}

// Patterns may change while a collector runs; invalid ones change nothing.
func TestSetProtect(t *testing.T) {
	b := newBench(t, Options{Protect: []string{"a"}})
	d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	if err := b.SetProtect([]string{"["}); err == nil {
		t.Error("an invalid pattern is accepted")
	}
	b.wantKept(d, Protected)
	if err := b.SetProtect(nil); err != nil {
		t.Error(err)
	}
	b.wantRemoved(d)
}

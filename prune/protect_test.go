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

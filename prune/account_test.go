package prune

import (
	"os"
	"runtime"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// A refresh that does not come about is counted: as kept if the next sweep may make it, else
// as failed, of which the log has a line once, until it comes about again.
func TestRefreshesThatDoNotComeAbout(t *testing.T) {
	b := newBench(t, Options{})
	d, _ := daemondirtest.MakeLive(t, b.root, "a")
	b.scan()
	at := time.Now()
	b.now = func() time.Time { at = at.Add(5 * time.Millisecond); return at }
	pass := func(rule string, refreshed, kept, failed int) {
		t.Helper()
		s := b.pass(t.Context(), func(Row) {})
		if s.Checked != 1 || s.Alive != 1 || s.Refreshed != refreshed || s.Kept != kept || s.Failed != failed {
			t.Errorf("%s: %+v; want %d refreshed, %d kept, %d failed", rule, s, refreshed, kept, failed)
		}
		// The watcher need not read what was written here, and no more than that.
		if e, ok := b.w.TakeExpected("a"); ok != (refreshed > 0) || ok && e != entryOf(t, d) {
			t.Errorf("%s: the watcher expects %+v: %v", rule, e, ok)
		}
	}
	pass("as it was judged", 1, 0, 0)
	b.scan()
	text := daemondirtest.ReadFile(t, d.Sidecar())
	daemondirtest.WriteFile(t, d.Sidecar(), "{}")
	pass("it differs", 0, 1, 0)
	daemondirtest.WriteFile(t, d.Sidecar(), text)
	b.scan()
	if hasLeases(t, d) {
		f, err := os.OpenFile(d.Sidecar(), os.O_RDWR, 0) // Windows lets others read
		if err != nil {
			t.Fatal(err)
		}
		pass("it is open elsewhere", 0, 1, 0)
		f.Close()
	}
	unwritable := func(lines int) {
		t.Helper()
		if err := os.Rename(d.Sidecar(), d.Sidecar()+"-away"); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(d.Sidecar(), 0o755); err != nil {
			t.Fatal(err)
		}
		pass("it is a directory", 0, 0, 1)
		pass("it is a directory still", 0, 0, 1)
		if got := b.log.Events("sidecar.unwritable"); len(got) != lines {
			t.Errorf("logged %v, want %d lines", got, lines)
		}
		if err := os.Remove(d.Sidecar()); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(d.Sidecar()+"-away", d.Sidecar()); err != nil {
			t.Fatal(err)
		}
		b.scan()
	}
	unwritable(1)
	pass("it is a file again", 1, 0, 0)
	b.scan()
	unwritable(2)
	if runtime.GOOS != "windows" { // what is open is not renamed there
		if err := os.Rename(b.root, b.root+"-away"); err != nil {
			t.Fatal(err)
		}
		pass("the root is away", 0, 1, 0)
		if err := os.Rename(b.root+"-away", b.root); err != nil {
			t.Fatal(err)
		}
	}
	if total := b.Totals(); total.Refreshed != 2 || total.Failed != 4 {
		t.Errorf("in total %+v", total)
	}
}

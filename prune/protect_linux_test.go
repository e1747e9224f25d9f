package prune

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

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

// A mark that is made after the last look keeps the dir: whoever made it was told so.
func TestProtectedAfterTheLastLook(t *testing.T) {
	root := t.TempDir()
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	m := newTestRemover(t, root, false)
	m.reached = func(step string) {
		if step != "judged" {
			return
		}
		if changed, err := daemondir.Protect(root, "a"); err != nil || !changed {
			t.Errorf("changed: %v, %v", changed, err)
		}
	}
	if r := m.remove(entryOf(t, d)); r.kept != Protected || r.hidden != "" || !d.Exists() {
		t.Errorf("kept because %q (%v), there: %v", r.kept, r.err, d.Exists())
	}
}

// A socket is in use however the path was written that it is bound to, and however deep it
// lies in the dir.
func TestKeepBoundSocket(t *testing.T) {
	for _, dir := range []string{".", "run/deep"} {
		t.Run(dir, func(t *testing.T) {
			b := newBench(t, Options{})
			d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
			if err := os.MkdirAll(filepath.Join(d.Path(), dir), 0o755); err != nil {
				t.Fatal(err)
			}
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(d.Path(), link); err != nil {
				t.Fatal(err)
			}
			listener, err := net.Listen("unix", filepath.Join(link, dir, "s"))
			if err != nil {
				t.Skipf("no socket: %v", err)
			}
			defer listener.Close()
			daemondirtest.MakeOld(t, d.Path(), 2*time.Hour)
			b.wantKept(d, InUse)
			listener.Close()
			b.wantRemoved(d)
		})
	}
}

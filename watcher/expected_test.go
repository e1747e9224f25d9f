package watcher

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// Of a sidecar that we have written ourselves, and that is still as we left it, the
// registry takes what was noted: nothing is read. Of any other the disk is read.
func TestOwnWriteIsNotRead(t *testing.T) {
	const fiction = 777 // what the sidecar does not say
	for _, row := range []struct {
		rule string
		to   func(t *testing.T, root string, noted *daemondir.Entry)
		want uint64
	}{
		{"as we left it", func(*testing.T, string, *daemondir.Entry) {}, fiction},
		{"rewritten since, at another length", func(t *testing.T, root string, _ *daemondir.Entry) {
			daemondirtest.WriteFile(t, sidecarPath(root, "a"), sidecar(12345))
		}, 12345},
		{"replaced since", func(t *testing.T, root string, _ *daemondir.Entry) {
			daemondirtest.WriteFile(t, filepath.Join(root, "new"), sidecar(6))
			rename(t, filepath.Join(root, "new"), sidecarPath(root, "a"))
		}, 6},
		{"of another spawn than the registry's", func(_ *testing.T, _ string, noted *daemondir.Entry) {
			noted.SpawnedAt = daemondir.At(4)
		}, 5},
		{"in another dir", func(_ *testing.T, _ string, noted *daemondir.Entry) { noted.Dir.Ino++ }, 5},
		{"gone", func(t *testing.T, root string, _ *daemondir.Entry) { removeAll(t, sidecarPath(root, "a")) }, 0},
	} {
		t.Run(row.rule, func(t *testing.T) {
			root := newRoot(t)
			spawn(t, root, "a", 5)
			w := prepare(t, setup{Root: root})
			e, err := daemondir.Read(root, "a")
			if err != nil {
				t.Fatal(err)
			}
			s := w.newSession()
			w.reg.Put(e, time.Time{})
			defer s.end()
			noted := e
			noted.LastSeen = daemondir.At(fiction)
			row.to(t, root, &noted)
			w.registry.Expect(noted)
			s.confirm("a")
			if e, _ := w.registry.Get("a"); e.LastSeen.MS != row.want {
				t.Errorf("the registry says %+v, want %d", e, row.want)
			}
			if w.reg.Expects("a") {
				t.Error("the note is still there")
			}
		})
	}
}

// Only a plain write of the very file is taken for our own; all else is read.
func TestEventOfAnExpectedWrite(t *testing.T) {
	dir := filepath.FromSlash("/data")
	h := newPending(registry.New("/data"), dir, []string{dir})
	h.expects = func(name string) bool { return name == "a" }
	file := func(name, base string) string { return filepath.Join(dir, name, base) }
	for _, row := range []struct {
		ev   fsnotify.Event
		ours bool
	}{
		{fsnotify.Event{Name: file("a", "a.daemon.json"), Op: fsnotify.Write}, true},
		{fsnotify.Event{Name: file("a", "a.daemon.json"), Op: fsnotify.Create}, false},
		{fsnotify.Event{Name: file("a", "a.daemon.json"), Op: fsnotify.Write | fsnotify.Create}, false},
		{fsnotify.Event{Name: file("a", daemondir.PIDFileName), Op: fsnotify.Write}, false},
		{fsnotify.Event{Name: file("b", "b.daemon.json"), Op: fsnotify.Write}, false},
		{fsnotify.Event{Name: filepath.Join(dir, "a"), Op: fsnotify.Write}, false},
	} {
		h.event(row.ev)
		if ours, others := len(h.ours.Take()), len(h.names.Take()); ours+others != 1 || ours == 1 != row.ours {
			t.Errorf("%v: %d hints of ours, %d others", row.ev, ours, others)
		}
	}
}

// A note whose event came before it is not taken up; it must not outlive its dir, or a
// watch would grow by every daemon there ever was.
func TestNotesGoWithTheirDirs(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	spawn(t, root, "b", 1)
	w := start(t, setup{Root: root})
	w.waitPID("a", 1)
	w.waitPID("b", 1)
	for _, name := range []string{"a", "b", "never-was"} {
		e, _ := w.registry.Get(name)
		e.Name = name
		w.registry.Expect(e)
	}
	if w.reg.Expects("never-was") {
		t.Error("a dir that nobody knows has a note")
	}
	removeAll(t, root+"/a")
	daemondirtest.Eventually(t, "the note of a removed dir to go", func() bool { return !w.reg.Expects("a") })
	removeAll(t, root)
	daemondirtest.Eventually(t, "the notes of a lost root to go", func() bool { return !w.reg.Expects("b") })
}

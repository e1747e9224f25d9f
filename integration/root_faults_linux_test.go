package integration

// What the file system of the root refuses: room, rights, reading, writing. Each is to be
// said once, counted, and tried again; nothing may be lost, and the watch goes on.

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// failing waits until whole sweeps count n failures.
func failing(w *watchProcess, n int) {
	w.t.Helper()
	w.sweeps(1)
	daemondirtest.Eventually(w.t, fmt.Sprintf("sweeps count %d failures", n), func() bool {
		return w.next("sweep.done", "").number("failed") == int64(n)
	})
}

// A full disk must cost no sidecar. The number that a refresh adds makes each sidecar
// grow into a new page, so that a write comes back short.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if !inOwnMounts(t) {
		return
	}
	root := runtimeRoot(t)
	mount(t, "tmpfs", root, "tmpfs", 0, "size=4m,mode=755")
	s := newSpawner(t, root)
	text := daemondirtest.Sidecar(time.Now(), time.Time{})
	text = bytes.Replace(text, []byte(`"cwd"`), []byte(`"pad": "`+strings.Repeat("x", os.Getpagesize()-10-len(text)-len("\"pad\": \"\",\n  "))+"\",\n  \"cwd\""), 1)
	names := crowd(t, s, 200, text)
	s.leave("due", daemondirtest.Sidecar(ago(stale), time.Time{}), "")
	filler, err := os.Create(filepath.Join(root, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	for block := make([]byte, 1<<16); err == nil; {
		_, err = filler.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}

	w := startWatch(t, root, "--sweep-interval", "100ms")
	// What makes room must work without any. Its one page is then the first one's that asks.
	w.next("daemon.removed", "due")
	failing(w, len(names)-1)
	w.sweeps(2)
	changed := 0
	for _, name := range names {
		if now, err := os.ReadFile(s.sidecar(name)); err != nil || !bytes.Equal(now, text) {
			// It got the page, maybe before it was ever refused.
			changed++
			t.Logf("the sidecar of %s has changed: %v, %d bytes, were %d", name, err, len(now), len(text))
			continue
		}
		loggedTimes(t, w, 1, "sidecar.unwritable", name)
	}
	if changed > 1 {
		t.Errorf("%d sidecars have changed without room", changed)
	}
	noError(t, filler.Truncate(0))
	failing(w, 0)
	w.stop(syscall.SIGTERM)
	head := bytes.TrimSuffix(text, []byte("\n}"))
	for _, name := range names {
		now, err := os.ReadFile(s.sidecar(name))
		if _, ok := decodeObject(now); err != nil || !ok || !bytes.HasPrefix(now, head) || len(now) == len(text) {
			t.Fatalf("the sidecar of %s was not refreshed: %v, %d bytes, were %d", name, err, len(now), len(text))
		}
	}
	w.never("sidecar.invalid", "")
}

// A file system that is remounted read-only, as the kernel does after an error, refuses
// everything: said once each time, and done as soon as it can be.
func TestReadOnlyFileSystem(t *testing.T) {
	t.Parallel()
	if !inOwnMounts(t) {
		return
	}
	root := runtimeRoot(t)
	mount(t, root, root, "", unix.MS_BIND, "")
	readOnly := func(flag uintptr) {
		t.Helper()
		mount(t, "", root, "", unix.MS_BIND|unix.MS_REMOUNT|flag, "")
	}
	s := newSpawner(t, root)
	text := daemondirtest.Sidecar(time.Now(), time.Time{})
	names := crowd(t, s, 5, text)
	s.leave("due", daemondirtest.Sidecar(ago(stale), time.Time{}), "")
	before := snapshot(t, root)
	readOnly(unix.MS_RDONLY)
	w := startWatch(t, root, "--sweep-interval", "100ms")
	failing(w, len(names)+1)
	w.sweeps(3)
	if e := w.next("daemon.kept", "due"); e.reason != "failed" || !strings.Contains(fmt.Sprint(e.fields["error"]), "read-only") {
		t.Errorf("want reason failed and the error: %s", e.line)
	}
	loggedTimes(t, w, 1, "daemon.kept", "due")
	before.mustEqual(t, snapshot(t, root))
	readOnly(0)
	w.next("daemon.removed", "due")
	failing(w, 0)
	readOnly(unix.MS_RDONLY)
	failing(w, len(names))
	w.sweeps(3)
	readOnly(0)
	failing(w, 0)
	w.stop(syscall.SIGTERM)
	for _, name := range names {
		loggedTimes(t, w, 2, "sidecar.unwritable", name)
		now, err := os.ReadFile(s.sidecar(name))
		if _, ok := decodeObject(now); err != nil || !ok || !bytes.HasPrefix(now, bytes.TrimSuffix(text, []byte("\n}"))) {
			t.Errorf("the sidecar of %s: %v, %q", name, err, now)
		}
	}
}

// Rights are taken and given back without any event that tells of it.
func TestRightsComeBack(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("due", stale)
	d := s.spawn("live")
	attr := ordinaryUser(t, root)
	chmod := func(path string, mode os.FileMode) {
		t.Helper()
		noError(t, os.Chmod(path, mode))
	}
	t.Cleanup(func() { chmodBelow(root, 0o755) })
	chmod(s.sidecar("live"), 0o444)
	chmod(root, 0o555)
	w := startWatchAs(t, attr, root, "--sweep-interval", "100ms")
	failing(w, 2)
	w.sweeps(3)
	for _, e := range []event{w.next("daemon.kept", "due"), w.next("sidecar.unwritable", "live")} {
		if e.reason != "permission" || !e.has("error") {
			t.Errorf("want reason permission and the error: %s", e.line)
		}
	}
	chmod(root, 0o755)
	w.next("daemon.removed", "due")
	chmod(s.sidecar("live"), 0o644)
	w.next("sidecar.refreshed", "live")
	chmod(s.sidecar("live"), 0o444)
	failing(w, 1)
	w.sweeps(3)
	w.stop(syscall.SIGTERM)
	loggedTimes(t, w, 1, "daemon.kept", "due")
	loggedTimes(t, w, 2, "sidecar.unwritable", "live")
	if err := d.complete(); err != nil {
		t.Error(err)
	}
}

// A sidecar that cannot be read for an error of the disk is said to be so, once, and
// the others are served.
func TestDiskError(t *testing.T) {
	t.Parallel()
	if !inOwnMounts(t) {
		return
	}
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	text := daemondirtest.Sidecar(time.Now(), time.Time{})
	s.leave("bad", text, "")
	s.spawn("good")
	// A regular file, and every read at its start is EIO.
	mount(t, fmt.Sprintf("/proc/%d/mem", bystander(t, "/")), s.sidecar("bad"), "", unix.MS_BIND, "")
	w := startWatch(t, root, "--sweep-interval", "100ms")
	if e := w.next("sidecar.invalid", "bad"); e.reason != "io_error" {
		t.Errorf("want reason io_error: %s", e.line)
	}
	w.next("sidecar.refreshed", "good")
	w.sweeps(3)
	w.stop(syscall.SIGTERM)
	loggedTimes(t, w, 1, "sidecar.invalid", "bad")
	w.never("daemon.removed", "")
}

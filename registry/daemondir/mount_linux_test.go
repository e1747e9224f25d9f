//go:build !portable

package daemondir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir/daemondirtest"
)

func TestLook(t *testing.T) {
	if !daemondirtest.InChild(t, unix.CLONE_NEWUSER|unix.CLONE_NEWNS) {
		return
	}
	root := t.TempDir()
	for _, name := range []string{"dir", "mounted", "silent"} {
		daemondirtest.Make(t, root, name, "{}", "1")
	}
	daemondirtest.WriteFile(t, filepath.Join(root, "file"), "")
	symlink(t, "dir", filepath.Join(root, "link"))
	daemondirtest.Mount(t, filepath.Join(root, "dir"), filepath.Join(root, "mounted"))
	defer daemondirtest.MountSilent(t, filepath.Join(root, "silent"))()
	for name, want := range map[string]Kind{
		"dir": Directory, "file": NoDirectory, "link": NoDirectory, "none": NoDirectory,
		"mounted": Mounted, "silent": Mounted, strings.Repeat("x", 256): Unknown, "file/dir": Unknown,
	} {
		if got := Look(root, name); got != want {
			t.Errorf("%.20s: %d, want %d", name, got, want)
		}
	}
}

// A file system that is mounted on a daemon dir is read like any other.
func TestReadMounted(t *testing.T) {
	if !daemondirtest.InChild(t, unix.CLONE_NEWUSER|unix.CLONE_NEWNS) {
		return
	}
	root, elsewhere := t.TempDir(), t.TempDir()
	daemondirtest.Make(t, root, "a", "{}", "1")
	daemondirtest.Make(t, elsewhere, "a", `{"spawned_at_unix_ms": 7}`, "2")
	daemondirtest.Mount(t, filepath.Join(elsewhere, "a"), filepath.Join(root, "a"))
	want, err := Read(elsewhere, "a")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Read(root, "a"); err != nil || got != want || got.PID.N != 2 {
		t.Errorf("read %+v, %v, want %+v", got, err, want)
	}
	r, err := OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if f, err := r.openSidecarByDir("none", ReadOnly); !errors.Is(err, fs.ErrNotExist) { // no openat2
		t.Errorf("no dir: %v, %v", f, err)
	}
	f, err := r.OpenSidecar("a", ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if text, _, problem := f.Text(); string(text) != `{"spawned_at_unix_ms": 7}` || problem != ProblemNone {
		t.Errorf("the sidecar is %q, problem %q", text, problem)
	}
}

// One that does not answer is waited for no longer than a second, and not again while it still
// does not. Nothing else waits for it.
func TestSilentMount(t *testing.T) {
	if !daemondirtest.InChild(t, unix.CLONE_NEWUSER|unix.CLONE_NEWNS) {
		return
	}
	root := t.TempDir()
	silent := daemondirtest.Make(t, root, "silent", "{}", "1")
	want, err := Read(root, "silent")
	if err != nil {
		t.Fatal(err)
	}
	daemondirtest.Make(t, root, "b", "{}", "1")
	runtimeDir := filepath.Join(root, "b", "runtime")
	if err := os.Mkdir(runtimeDir, 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	free := daemondirtest.MountSilent(t, silent.Path())
	for range 3 {
		e, err := Read(root, "silent")
		if err != nil || e.Name != "silent" || e.Problem != ProblemNoAnswer || e.Dir == (FileID{}) || e.Dir == want.Dir {
			t.Errorf("read %+v, %v", e, err)
		}
		if _, err := r.OpenSidecar("silent", ReadOnly); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("opening the sidecar: %v", err)
		}
		if _, err := Stat(filepath.Join(silent.Path(), "x")); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("stat: %v", err)
		}
		if _, err := NetworkType(silent.Path()); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("its type: %v", err)
		}
	}
	if e, err := Read(root, "b"); err != nil || e.Problem != ProblemNone {
		t.Errorf("read %+v, %v", e, err)
	}
	// A home there is no reason to refuse another directory, and protects what holds it.
	t.Setenv("HOME", filepath.Join(silent.Path(), "home"))
	if err := CheckRoot(runtimeDir); err != nil {
		t.Errorf("a root beside a home that does not answer: %v", err)
	}
	if err := CheckRoot(root); !errors.Is(err, ErrRefused) {
		t.Errorf("a root that holds such a home: %v", err)
	}
	free()
	daemondirtest.EventuallyNone(t, func() string {
		e, err := Read(root, "silent")
		kind, typeErr := NetworkType(silent.Path())
		_, statErr := Stat(filepath.Join(silent.Path(), "x"))
		if err == nil && e == want && typeErr == nil && kind == "" && errors.Is(statErr, fs.ErrNotExist) {
			return ""
		}
		return fmt.Sprintf("read %+v, %v; type %q, %v; stat: %v", e, err, kind, typeErr, statErr)
	})
}

// A file that cannot be read, as on a broken disk, makes the entry one with a problem, whichever
// of the two it is. Of what the other says, only the pid is used.
func TestReadIOError(t *testing.T) {
	if !daemondirtest.InChild(t, unix.CLONE_NEWUSER|unix.CLONE_NEWNS) {
		return
	}
	for file, pid := range map[string]bool{"a.daemon.json": true, PIDFileName: false} {
		root := t.TempDir()
		d := daemondirtest.Make(t, root, "a", `{"spawned_at_unix_ms": 7}`, "1")
		daemondirtest.Mount(t, "/proc/self/mem", filepath.Join(d.Path(), file)) // EIO at 0
		e, err := Read(root, "a")
		if err != nil || e.Problem != ProblemIO || e.SpawnedAt.Known || e.LastSeen.Known || e.PID.Known != pid {
			t.Errorf("%s: read %+v, %v", file, e, err)
		}
	}
}

// What is wrong with the sidecar is said first.
func TestReadIOErrorOfThePIDFile(t *testing.T) {
	if !daemondirtest.InChild(t, unix.CLONE_NEWUSER|unix.CLONE_NEWNS) {
		return
	}
	root := t.TempDir()
	d := daemondirtest.Make(t, root, "a", "[]", "1")
	daemondirtest.Mount(t, "/proc/self/mem", d.PIDFile())
	if e, err := Read(root, "a"); err != nil || e.Problem != ProblemNotObject || e.PID.Known {
		t.Errorf("read %+v, %v", e, err)
	}
}

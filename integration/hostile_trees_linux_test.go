package integration

// What may be below a stale dir: other file systems, and very much.

import (
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

// mount mounts source on target; "" is a new tmpfs.
func (h *hostile) mount(source, target string) {
	h.t.Helper()
	fstype, flags := "", uintptr(unix.MS_BIND)
	if source == "" {
		source, fstype, flags = "tmpfs", "tmpfs", 0
	}
	err := unix.Mount(source, target, fstype, flags, "")
	if errors.Is(err, unix.EPERM) {
		h.t.Skipf("may not mount: %v", err)
	}
	h.check(err)
}

// What is mounted in a dir is somebody's data and not the daemon's, even where device
// numbers do not tell and whatever the kernel makes of the name in its table.
func TestMountsInStaleDirs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may mount")
	}
	t.Parallel()
	h := newHostile(t)
	// Mounted itself, it takes along what is mounted in it, wherever that has been moved.
	h.mount(h.root, h.root)
	t.Cleanup(func() {
		if err := unix.Unmount(h.root, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting %q: %v", h.root, err)
		}
	})
	h.image = h.dir("image") // on the same mount
	h.check(daemondirtest.CopyProgram(h.image, trampolineImage(t)))
	sub, note := filepath.Join(h.precious, "sub"), filepath.Join(h.precious, "sub", "below", "note")
	var stay []string
	due := func(name string) string {
		dir := h.due(name)
		h.goes = h.goes[:len(h.goes)-1]
		stay = append(stay, name)
		h.check(os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755))
		h.write(filepath.Join(dir, "file"), "")
		return dir
	}
	for _, name := range []string{"bind", "b i\tn\nd", `back\040slash`, "\xff", strings.Repeat("m", 243)} {
		h.mount(sub, filepath.Join(due(name), "a", "b"))
	}
	h.mount(sub, filepath.Join(due("shallow"), "a"))
	h.mount(note, filepath.Join(due("file"), "file"))
	h.mount(due("self"), h.dir("self"))
	tmp := filepath.Join(due("tmpfs"), "a", "b")
	h.mount("", tmp)
	h.write(filepath.Join(tmp, "note"), "a note")
	// The whole dir is another one's; it looks like ours.
	other := filepath.Join(h.precious, "over")
	h.check(os.Mkdir(other, 0o755))
	h.check(os.WriteFile(filepath.Join(other, "over.daemon.json"), daemondirtest.Sidecar(ago(stale), ago(stale)), 0o644))
	h.mount(other, due("over"))
	// A leftover of an interrupted removal gets its name back, mount and all.
	left := due("left")
	h.check(os.Rename(left, h.dir(".pruned-left")))
	h.mount(sub, filepath.Join(h.dir(".pruned-left"), "a"))
	// One that stands beside a mount by its name only.
	h.due("bin")
	h.before = snapshot(t, h.precious)

	w := startWatch(t, h.root, "--stale-after", "500ms", "--sweep-interval", "50ms")
	h.mustBeServed(t)
	h.mustServe(w, "ordinary")
	w.sweeps(3)
	w.stop(syscall.SIGTERM)
	for range 2 {
		run(t, "prune", "--root", h.root).must(t)
	}
	h.before.mustEqual(t, snapshot(t, h.precious))
	for _, name := range stay {
		for _, file := range []string{name + ".daemon.json", "file", "a"} {
			if _, err := os.Lstat(filepath.Join(h.dir(name), file)); err != nil && (name != "over" || file[0] == 'o') {
				t.Errorf("a mount is in it: %v", err)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(tmp, "note")); err != nil {
		t.Error(err)
	}
	kept := make(map[string]string)
	for _, e := range w.all("daemon.kept", "") {
		kept[e.daemon] = e.reason
	}
	for _, name := range []string{"bind", `b i\tn\nd`, `back\040slash`, `\xff`, "shallow", "file", "self", "tmpfs", "over", "left"} {
		if kept[name] != "mount_point" {
			t.Errorf("%s is said to be kept for %q, want mount_point", name, kept[name])
		}
	}
}

// deepen makes a chain of so many dirs, each in the last, below dir. Their path may be
// longer than a path may be.
func (h *hostile) deepen(dir, name string, levels int) {
	h.t.Helper()
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	h.check(err)
	for range levels {
		h.check(unix.Mkdirat(at, name, 0o755))
		next, err := unix.Openat(at, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		h.check(err)
		h.check(unix.Close(at))
		at = next
	}
	h.check(unix.Mkdirat(at, "bottom", 0o755))
	h.check(unix.Close(at))
}

// The removal of a tree that is very deep or very wide must end, in bounded memory, and
// the daemons that are born meanwhile must not wait for long.
func TestHugeTreesInStaleDirs(t *testing.T) {
	t.Parallel()
	levels, files := 3000, 10_000
	if os.Getenv("GCTEST_LONG") != "" {
		levels, files = 50_000, 200_000
	}
	h := newHostileInMemory(t)
	deep := h.due("deep")
	h.deepen(deep, strings.Repeat("d", 10), levels)
	wide := filepath.Join(h.due("wide"), "files")
	h.check(os.Mkdir(wide, 0o755))
	for i := range files {
		f, err := os.OpenFile(filepath.Join(wide, fmt.Sprint("f", i)), os.O_CREATE|os.O_WRONLY, 0o644)
		h.check(err)
		h.check(f.Close())
	}
	h.before = snapshot(t, h.precious)
	w := startWatch(t, h.root, "--stale-after", "500ms", "--sweep-interval", "50ms")
	// Born and gone all the while, until both are removed.
	var slowest time.Duration
	for i := 0; i < 3 || exists(deep) || exists(wide) || exists(h.dir(".pruned-deep")) || exists(h.dir(".pruned-wide")); i++ {
		d := h.spawn(fmt.Sprint("ordinary-", i))
		e := w.next("daemon.live", d.name)
		slowest = max(slowest, e.arrived.Sub(d.closed))
		d.kill()
		w.next("daemon.exited", d.name)
		h.goes = append(h.goes, d.name)
		time.Sleep(50 * time.Millisecond) // leave a processor to the other tests
	}
	h.mustBeServed(t)
	mustBeSmall(t, w.cmd.Process)
	t.Logf("a birth was noticed within %v", slowest)
	if slowest > 5*time.Second {
		t.Errorf("a birth was noticed only after %v", slowest)
	}
	for name, want := range map[string]int{"deep": levels + 3, "wide": files + 3} {
		if e := w.next("daemon.removed", name); e.number("files") != int64(want) {
			t.Errorf("want %d files: %s", want, e.line)
		}
	}
	w.stop(syscall.SIGTERM)
	h.mustBeUnharmed(t)
}

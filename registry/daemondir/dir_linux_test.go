package daemondir

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir/daemondirtest"
)

// Whatever stands where a file should be: it is not opened in a way that waits for
// anybody, and it is not read.
func TestReadSpecialFiles(t *testing.T) {
	node := func(mode uint32, dev uint64) func(path string) error {
		return func(path string) error { return unix.Mknod(path, mode|0o600, int(dev)) }
	}
	for _, tt := range []struct {
		name string
		make func(path string) error
	}{
		{"FIFO", node(unix.S_IFIFO, 0)},
		{"unix socket", node(unix.S_IFSOCK, 0)},
		{"device that reads empty", node(unix.S_IFCHR, unix.Mkdev(1, 3))},   // /dev/null
		{"device that never ends", node(unix.S_IFCHR, unix.Mkdev(1, 5))},    // /dev/zero
		{"terminal", node(unix.S_IFCHR, unix.Mkdev(5, 0))},                  // /dev/tty
		{"device without a driver", node(unix.S_IFCHR, unix.Mkdev(511, 7))}, // unassigned
		{"block device without a driver", node(unix.S_IFBLK, unix.Mkdev(511, 7))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			dir := daemondirtest.Make(t, root, "web", `{"last_seen_unix_ms":2}`, "12")
			sidecar, pid := dir.Sidecar(), dir.PIDFile()
			special := filepath.Join(dir.Path(), "special")
			switch err := tt.make(special); {
			case errors.Is(err, fs.ErrPermission):
				t.Skip("only root may make devices")
			case err != nil:
				t.Fatal(err)
			}
			if f, err := os.OpenFile(special, os.O_RDONLY|unix.O_NONBLOCK, 0); errors.Is(err, fs.ErrPermission) {
				t.Skip("devices may not be opened on this file system")
			} else if err == nil {
				f.Close()
			}

			if err := os.Link(special, pid+".new"); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(pid+".new", pid); err != nil {
				t.Fatal(err)
			}
			within("reading it as the pid file", func() { checkNoPID(t, root, "web") })

			if err := os.Rename(special, sidecar); err != nil {
				t.Fatal(err)
			}
			within("reading it as the sidecar", func() {
				e, err := Read(root, "web")
				want := Entry{Name: "web", Dir: identityOf(t, dir.Path()), Problem: ProblemNotRegular}
				if err != nil || e != want {
					t.Errorf("%+v, %v\nwant %+v", e, err, want)
				}
				checkNotOpened(t, root, "web")
			})
		})
	}
}

// A FIFO somebody writes to is not read either.
func TestReadFIFOWithWriter(t *testing.T) {
	root := t.TempDir()
	dir := daemondirtest.Dir{Root: root, Name: "web"}
	if err := dir.Mkdir(); err != nil {
		t.Fatal(err)
	}
	path := dir.Sidecar()
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	fifo, err := os.OpenFile(path, os.O_RDWR, 0) // on Linux this does not wait
	if err != nil {
		t.Fatal(err)
	}
	defer fifo.Close()
	if _, err := fifo.WriteString(`{"last_seen_unix_ms":2}`); err != nil {
		t.Fatal(err)
	}
	within("reading it", func() {
		if e, err := Read(root, "web"); err != nil || e.Problem != ProblemNotRegular {
			t.Errorf("%+v, %v", e, err)
		}
	})
}

// A sidecar that takes no room on disk would still take it in memory.
func TestReadSparseSidecar(t *testing.T) {
	root := t.TempDir()
	dir := daemondirtest.Make(t, root, "web", `{"last_seen_unix_ms":2}`, "12")
	if err := os.Truncate(dir.Sidecar(), 20<<30); err != nil {
		t.Skipf("no sparse file of 20 GB here: %v", err)
	}
	within("reading it", func() {
		e, err := Read(root, "web")
		if err != nil || e.Problem != ProblemTooLarge || e.LastSeen.Known || e.Sidecar.Size != 20<<30 || !e.PID.Known {
			t.Errorf("%+v, %v", e, err)
		}
	})
}

// The spawner's usual rewrite: a text of the same length, of which a reader can get one
// page of the old and one of the new. Only the file's time can tell.
func TestReadWhileRewrittenAtSameLength(t *testing.T) {
	root := t.TempDir()
	// In memory such reads are 200 times as frequent: 1 in 40 instead of 1 in 7,000.
	if inMemory, err := os.MkdirTemp("/dev/shm", "registry-test-"); err == nil {
		t.Cleanup(func() {
			if err := os.RemoveAll(inMemory); err != nil {
				t.Error(err)
			}
		})
		root = inMemory
	}
	path := filepath.Join(root, "probe")
	for range 50 {
		daemondirtest.WriteFile(t, path, "a")
		before := stat(t, path).ModTime()
		daemondirtest.WriteFile(t, path, "b")
		if stat(t, path).ModTime().Equal(before) {
			t.Skip("this file system's times are too coarse to tell two writes apart (Linux before 6.13)")
		}
	}
	checkReadsWhileRewritten(t, root, 4100, 4100, 4100)
}

// A name is any bytes but '/' and NUL, as far as a sidecar's name has room for it.
func TestReadNames(t *testing.T) {
	for _, tt := range []struct{ name, dir string }{
		{"newline", "a\nb"},
		{"only a newline", "\n"},
		{"escape sequence", "\x1b[2J"},
		{"invalid UTF-8", "\xff\xfe"},
		{"character cut short", "a\xe2\x82"},
		{"leading dash", "-rf"},
		{"three dots", "..."},
		{"leading dots", "..a"},
		{"dots inside", "web.1.2"},
		{"ends like a sidecar", "web.daemon.json"},
		{"the pid file's name", "daemon.pid"},
		{"spaces", " a b "},
		{"only a space", " "},
		{"backslash", `a\b`},
		{"quotes", `'a' "b"`},
		{"glob characters", "*?[a]"},
		{"per cent", "%s%d%n"},
		{"other scripts", "dæmon-日本"},
		{"bidi override", "\u202egnp"},
		{"243 bytes", strings.Repeat("n", 243)},
		{"243 bytes of UTF-8", strings.Repeat("日", 81)},
		{"243 bytes, quarantined", QuarantinePrefix + strings.Repeat("n", 243)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			dir := filepath.Join(root, tt.dir)
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Skipf("no such name on this file system: %v", err)
			}
			daemondirtest.WriteFile(t, filepath.Join(dir, strings.TrimPrefix(tt.dir, ".pruned-")+".daemon.json"), `{"last_seen_unix_ms":2}`)
			e, err := Read(root, tt.dir)
			if err != nil || e.Name != tt.dir || e.Problem != ProblemNone || e.LastSeen != At(2) {
				t.Errorf("%+v, %v", e, err)
			}
		})
	}
	t.Run("244 bytes: no sidecar can have that name", func(t *testing.T) {
		root := t.TempDir()
		name := strings.Repeat("n", 244)
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if e, err := Read(root, name); err != nil || e.Problem != ProblemNoSidecar {
			t.Errorf("%+v, %v", e, err)
		}
	})
}

// Under somebody's lease a sidecar is busy: not missing, not invalid, and not waited for.
func TestReadLeased(t *testing.T) {
	root := t.TempDir()
	dir := daemondirtest.Make(t, root, "web", `{"last_seen_unix_ms":2}`, "12")
	holder, err := os.OpenFile(dir.Sidecar(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	takeLease(t, int(holder.Fd()))
	within("reading it", func() {
		for range 2 { // the second read finds the lease being broken
			if e, err := Read(root, "web"); !errors.Is(err, ErrBusy) || e != (Entry{}) {
				t.Errorf("%+v, %v; want no entry, and %v", e, err, ErrBusy)
			}
			if f, err := openDir(t, root, "web").OpenSidecar(ReadWrite); !errors.Is(err, ErrBusy) {
				t.Errorf("opening it for writing: %v", err)
				if err == nil {
					f.Close()
				}
			}
		}
	})
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	if e, err := Read(root, "web"); err != nil || e.LastSeen != At(2) {
		t.Errorf("after the lease: %+v, %v", e, err)
	}
}

// Whoever holds the lease reads through the file that has it; closing it is the end.
func TestReadFromUnderOwnLease(t *testing.T) {
	root := t.TempDir()
	dir := daemondirtest.Make(t, root, "web", `{"last_seen_unix_ms":2}`, "12")
	d := openDir(t, root, "web")
	f, err := d.OpenSidecar(ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	takeLease(t, f.Fd())
	within("reading it", func() {
		if e, err := d.ReadFrom(f); err != nil || e.Problem != ProblemNone || e.LastSeen != At(2) || e.PID.N != 12 {
			t.Errorf("%+v", e)
		}
	})
	if kind, err := unix.FcntlInt(uintptr(f.Fd()), unix.F_GETLEASE, 0); err != nil || kind != unix.F_WRLCK {
		t.Errorf("reading broke the lease: %d, %v", kind, err)
	}
	// What is written through it is what the next reader finds.
	text, said, problem := f.Text()
	if problem != ProblemNone {
		t.Fatal(problem)
	}
	tail, offset := said.WithLastSeen(text, 3)
	if _, err := unix.Pwrite(f.Fd(), tail, int64(offset)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	within("reading it after the lease", func() {
		if e, err := Read(root, "web"); err != nil || e.LastSeen != At(3) {
			t.Errorf("%+v, %v", e, err)
		}
	})
	want := []byte(`{"last_seen_unix_ms":3}`)
	if got, err := os.ReadFile(dir.Sidecar()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

// Read runs for every hint, for years.
func TestReadLeaksNoDescriptor(t *testing.T) {
	root := t.TempDir()
	daemondirtest.Make(t, root, "good", written, "12")
	daemondirtest.Make(t, root, "bad", "[", strings.Repeat("1", 100))
	if err := os.Mkdir(filepath.Join(root, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	special := daemondirtest.Make(t, root, "special", "", "12")
	if err := os.Remove(special.Sidecar()); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(special.Sidecar(), 0o600); err != nil {
		t.Fatal(err)
	}
	before := openDescriptors(t)
	for range 100 {
		for _, name := range []string{"good", "bad", "empty", "special", "missing"} {
			if _, err := Read(root, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
	}
	// The runtime may have opened or closed one of its own.
	if after := openDescriptors(t); after > before+50 {
		t.Errorf("%d descriptors are open, %d were", after, before)
	}
}

// openDescriptors returns how many descriptors this process has open.
func openDescriptors(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// takeLease takes a write lease on fd, or skips the test.
func takeLease(t *testing.T, fd int) {
	t.Helper()
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Skipf("no leases on this file system: %v", err)
	}
}

// within runs f, which must not block. It ends the whole test binary if f does: nothing
// else gets a goroutine out of open(2). Ten seconds are long for a loaded machine and
// short of the 45 that a lease lasts.
func within(what string, f func()) {
	const limit = 10 * time.Second
	timer := time.AfterFunc(limit, func() { panic(fmt.Sprintf("%s took more than %v", what, limit)) })
	defer timer.Stop()
	f()
}

package prune

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

func needLeases(t *testing.T, d daemondirtest.Dir) {
	t.Helper()
	if !hasLeases(t, d) {
		t.Skip("no leases on this file system")
	}
}

func TestRefreshKeepsInodeAndOwner(t *testing.T) {
	d := daemondirtest.Make(t, t.TempDir(), "a", sidecarText(1, 2), "")
	needLeases(t, d)
	before := entryOf(t, d)
	if _, err := refresh(d.Root, before, 1_800_000_000_000); err != nil {
		t.Fatal(err)
	}
	if after := entryOf(t, d); after.Sidecar.Ino != before.Sidecar.Ino {
		t.Errorf("inode was %d, is %d", before.Sidecar.Ino, after.Sidecar.Ino)
	}
}

// A sidecar that somebody has open is left to the next sweep.
func TestRefreshLeavesAnOpenSidecar(t *testing.T) {
	d := daemondirtest.Make(t, t.TempDir(), "a", sidecarText(1, 2), "")
	needLeases(t, d)
	f, err := os.OpenFile(d.Sidecar(), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if wrote, err := refresh(d.Root, entryOf(t, d), 3); wrote || !errors.Is(err, errNotNow) {
		t.Errorf("wrote %v, error %v", wrote, err)
	}
}

// Who was stopped under the lease for so long that the kernel may have let a spawner in
// does not write.
func TestRefreshAfterALongStop(t *testing.T) {
	d := daemondirtest.Make(t, t.TempDir(), "a", sidecarText(1, 2), "")
	needLeases(t, d)
	r, err := newRefresher(d.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	at := time.Now()
	r.now = func() time.Time { at = at.Add(time.Second); return at }
	if _, err := r.refresh(entryOf(t, d), 3); !errors.Is(err, errNotNow) {
		t.Errorf("error %v", err)
	}
	if got := daemondirtest.ReadFile(t, d.Sidecar()); got != sidecarText(1, 2) {
		t.Errorf("it wrote %q", got)
	}
}

// Stopped after the last look at the clock, for so long that the lease ended and a spawner
// wrote: a damaged sidecar is reported, and one that was written after us is left alone.
func TestRefreshStoppedBeforeItsWrite(t *testing.T) {
	const breakTime = "/proc/sys/fs/lease-break-time"
	was, err := os.ReadFile(breakTime)
	if err != nil || os.Geteuid() != 0 || os.WriteFile(breakTime, []byte("1"), 0) != nil {
		t.Skip("setting the time after which a lease ends takes root")
	}
	t.Cleanup(func() { _ = os.WriteFile(breakTime, was, 0) })
	spawned := sidecarText(7_777_777, 7_777_777)
	for rule, row := range map[string]struct {
		look int // the look at the clock after which we are stopped
		err  error
	}{
		"before": {2, errOverwritten},
		"after":  {3, errNotNow},
	} {
		t.Run(rule, func(t *testing.T) {
			d := daemondirtest.Make(t, t.TempDir(), "a", sidecarText(1, 2), "")
			needLeases(t, d)
			r, err := newRefresher(d.Root)
			if err != nil {
				t.Fatal(err)
			}
			defer r.close()
			at, looks := time.Now(), 0
			r.now = func() time.Time {
				if looks++; looks == row.look {
					before := at
					daemondirtest.WriteFile(t, d.Sidecar(), spawned) // waits until the lease ends
					at = at.Add(time.Minute)
					if row.look == 2 {
						return before
					}
				}
				return at
			}
			if _, err := r.refresh(entryOf(t, d), 3); !errors.Is(err, row.err) {
				t.Errorf("error %v, want %v", err, row.err)
			}
			if got := daemondirtest.ReadFile(t, d.Sidecar()); row.err == errNotNow && got != spawned {
				t.Errorf("the sidecar is %q", got)
			}
		})
	}
}

// What a refresh says the sidecar is now is what it is now.
func TestRefreshSaysWhatItLeft(t *testing.T) {
	d := daemondirtest.Make(t, t.TempDir(), "a", sidecarText(1, 2), "")
	for _, ms := range []uint64{3, 1_800_000_000_000} {
		r, err := newRefresher(d.Root)
		if err != nil {
			t.Fatal(err)
		}
		defer r.close()
		said, err := r.refresh(entryOf(t, d), ms)
		if now := entryOf(t, d); err != nil || said != now || now.LastSeen != daemondir.At(ms) {
			t.Errorf("said %+v, %v; it is %+v", said, err, now)
		}
	}
}

// A FIFO, a device or a symlink in the sidecar's place is not written to.
func TestRefreshOfAnotherKindOfFile(t *testing.T) {
	for kind, put := range map[string]func(path string) error{
		"fifo":    func(path string) error { return unix.Mkfifo(path, 0o644) },
		"symlink": func(path string) error { return os.Symlink(path+"-target", path) },
		"dir":     func(path string) error { return os.Mkdir(path, 0o755) },
	} {
		t.Run(kind, func(t *testing.T) {
			d := daemondirtest.Make(t, t.TempDir(), "a", sidecarText(1, 2), "")
			e := entryOf(t, d)
			if err := os.Rename(d.Sidecar(), d.Sidecar()+"-target"); err != nil {
				t.Fatal(err)
			}
			if err := put(d.Sidecar()); err != nil {
				t.Fatal(err)
			}
			if wrote, err := refresh(d.Root, e, 3); wrote || err == nil {
				t.Errorf("wrote %v, error %v", wrote, err)
			}
			if got := daemondirtest.ReadFile(t, d.Sidecar()+"-target"); got != sidecarText(1, 2) {
				t.Errorf("it wrote %q", got)
			}
		})
	}
}

// A lease can be had on a file that was opened for reading only, and shows who waits.
func TestLeaseShowsAWaitingSpawner(t *testing.T) {
	d := daemondirtest.Make(t, t.TempDir(), "a", sidecarText(1, 2), "")
	needLeases(t, d)
	f := openSidecar(t, d, daemondir.ReadOnly)
	if err := fsys.TakeLease(f); err != nil {
		t.Fatal(err)
	}
	if !fsys.LeaseHeld(f) {
		t.Fatal("not held though just taken")
	}
	opened := make(chan error, 1)
	go func() {
		g, err := os.OpenFile(d.Sidecar(), os.O_WRONLY|os.O_TRUNC, 0)
		if err == nil {
			err = errors.Join(func() error { _, err := g.WriteString(sidecarText(8, 9)); return err }(), g.Close())
		}
		opened <- err
	}()
	daemondirtest.Eventually(t, "the waiting open breaks the lease", func() bool { return !fsys.LeaseHeld(f) })
	// And a reader of ours is not held up by it.
	if _, err := daemondir.Read(d.Root, d.Name); !errors.Is(err, daemondir.ErrBusy) {
		t.Errorf("reading under a lease: %v, want busy", err)
	}
	select {
	case <-opened:
		t.Error("the open did not wait")
	default:
	}
	f.Close()
	if err := <-opened; err != nil {
		t.Error(err)
	}
	if got := daemondirtest.ReadFile(t, d.Sidecar()); got != sidecarText(8, 9) {
		t.Errorf("the spawner's update is lost: %q", got)
	}
}

// No update of a spawner that rewrites its sidecar in a loop is lost to our refreshes,
// and nothing it reads is torn. The long form is behind GCTEST_LONG.
func TestRefreshLosesNoUpdate(t *testing.T) {
	updates := 3000
	if os.Getenv("GCTEST_LONG") != "" {
		updates = 1_000_000
	}
	d := daemondirtest.Make(t, t.TempDir(), "a", sidecarText(0, 0), "")
	needLeases(t, d)
	var stop atomic.Bool
	refreshed := make(chan int)
	go func() {
		n := 0
		for ms := uint64(1_900_000_000_000); !stop.Load(); ms++ {
			if e, err := daemondir.Read(d.Root, d.Name); err == nil {
				if wrote, _ := refresh(d.Root, e, ms); wrote {
					n++
				}
			}
			time.Sleep(100 * time.Microsecond)
		}
		refreshed <- n
	}()
	lost := 0
	for i := range updates {
		// The length changes, so that a write at an old offset would show.
		text := fmt.Sprintf(`{"generation": %d, "pad": %q, "last_seen_unix_ms": 5}`, i, strings.Repeat("x", i%40))
		if err := os.WriteFile(d.Sidecar(), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		var said struct {
			Generation int `json:"generation"`
		}
		got, err := os.ReadFile(d.Sidecar())
		if err != nil || json.Unmarshal(got, &said) != nil || said.Generation != i {
			lost++
			t.Logf("generation %d reads back as %q", i, got)
		}
	}
	stop.Store(true)
	n := <-refreshed
	t.Logf("%d updates against %d refreshes: %d lost", updates, n, lost)
	if lost > 0 || n == 0 {
		t.Errorf("%d of %d updates lost, %d refreshes", lost, updates, n)
	}
}

// Where there are no leases a window remains, between the last comparison and the
// rename. How wide it is, is said and not judged: it depends on the machine. That nothing
// is torn is.
func TestReplaceWindow(t *testing.T) {
	updates := 300
	if os.Getenv("GCTEST_LONG") != "" {
		updates = 30_000
	}
	d := daemondirtest.Make(t, t.TempDir(), "a", sidecarText(0, 0), "")
	id := entryOf(t, d).Dir
	rng := rand.New(rand.NewPCG(1, 2))
	var stop atomic.Bool
	replaced := make(chan int)
	go func() {
		n := 0
		for ms := uint64(1_900_000_000_000); !stop.Load(); ms++ {
			f := openSidecar(t, d, daemondir.ReadWrite)
			text, said, problem := f.Text()
			if problem != daemondir.ProblemNone {
				f.Close()
				continue
			}
			tail, offset := said.WithLastSeen(text, ms)
			if fsys.Replace(d.Sidecar(), id, f, text, tail, offset) == nil { // which closes f
				n++
			}
		}
		replaced <- n
	}()
	lost := 0
	for i := range updates {
		if err := os.WriteFile(d.Sidecar(), fmt.Appendf(nil, `{"generation": %d, "last_seen_unix_ms": 5}`, i), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(d.Sidecar())
		var said struct {
			Generation int `json:"generation"`
		}
		if err != nil || json.Unmarshal(got, &said) != nil {
			t.Fatalf("torn: %q, %v", got, err)
		}
		if said.Generation != i {
			lost++
		}
		// Long enough for a replacement to get through, anywhere in its time.
		time.Sleep(time.Duration(rng.Int64N(int64(4 * time.Millisecond))))
	}
	stop.Store(true)
	t.Logf("%d updates against %d replacements: %d lost", updates, <-replaced, lost)
}

// A full disk loses nothing. It takes a small tmpfs, and so root.
func TestRefreshOnAFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root")
	}
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("no tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
	// One byte short of a page: a longer number needs another page, which is not there.
	text := `{"last_seen_unix_ms": 5, "pad": "` + strings.Repeat("x", 4095-36) + `"}`
	d := daemondirtest.Make(t, root, "a", text+strings.Repeat(" ", 4095-len(text)), "")
	text = daemondirtest.ReadFile(t, d.Sidecar())
	fill, err := os.Create(root + "/fill")
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = fill.Write(make([]byte, 4096))
	}
	fill.Close()
	wrote, err := refresh(root, entryOf(t, d), 1_800_000_000_000)
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("wrote %v, error %v; want a full disk", wrote, err)
	}
	if got := daemondirtest.ReadFile(t, d.Sidecar()); got != text {
		t.Errorf("the sidecar was damaged: %d bytes, were %d", len(got), len(text))
	}
	// The number in place of one as long needs no room.
	daemondirtest.WriteFile(t, root+"/fill", "")
	daemondirtest.WriteFile(t, d.Sidecar(), sidecarText(1_700_000_000_000, 1_700_000_000_000))
	if wrote, err := refresh(root, entryOf(t, d), 1_800_000_000_000); err != nil || !wrote {
		t.Errorf("wrote %v, error %v", wrote, err)
	}
}

// A write that ends early, as on a disk that fills up meanwhile, is undone.
func TestRefreshIsCutShort(t *testing.T) {
	const text = `{"spawned_at_unix_ms": 5}`
	d := daemondirtest.Make(t, t.TempDir(), "a", text, "")
	needLeases(t, d)
	e := entryOf(t, d)
	// No file of this process may become longer than that (setrlimit(2)).
	var was unix.Rlimit
	mustDo(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &was))
	mustDo(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(len(text)) + 7, Max: was.Max}))
	wrote, err := refresh(d.Root, e, 1_800_000_000_000)
	mustDo(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &was))
	if wrote || !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("wrote %v, error %v; want a short write", wrote, err)
	}
	if got := daemondirtest.ReadFile(t, d.Sidecar()); got != text {
		t.Errorf("the sidecar is %q", got)
	}
}

// A new file in place of the old one is no more open to others, and no less to itself.
func TestReplaceKeepsAttributes(t *testing.T) {
	d := daemondirtest.Make(t, t.TempDir(), "a", sidecarText(1, 2), "")
	if err := os.Chmod(d.Sidecar(), 0o640|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	// u::rw-, u:65533:r--, g::---, m::r--, o::---, by linux/posix_acl_xattr.h
	acl := []byte("\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\xfd\xff\x00\x00" +
		"\x04\x00\x00\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff")
	attributes := map[string]string{"user.note": "kept", "system.posix_acl_access": string(acl)}
	for name, value := range attributes {
		if err := unix.Setxattr(d.Sidecar(), name, []byte(value), 0); err != nil {
			t.Skipf("no %s here: %v", name, err)
		}
	}
	want, err := os.Stat(d.Sidecar())
	if err != nil {
		t.Fatal(err)
	}
	// What a new file there has, and the old one has not.
	inherited := append([]byte(nil), acl...)
	if err := unix.Setxattr(d.Path(), "system.posix_acl_default", inherited, 0); err != nil {
		t.Fatal(err)
	}
	replace := func() error {
		f := openSidecar(t, d, daemondir.ReadWrite)
		text, said, _ := f.Text()
		tail, offset := said.WithLastSeen(text, said.LastSeen.MS+1)
		return fsys.Replace(d.Sidecar(), entryOf(t, d).Dir, f, text, tail, offset)
	}
	check := func() {
		t.Helper()
		if got, err := os.Stat(d.Sidecar()); err != nil || got.Mode() != want.Mode() {
			t.Errorf("mode is %v, %v, want %v", got.Mode(), err, want.Mode())
		}
		for _, name := range []string{"user.note", "system.posix_acl_access"} {
			buf := make([]byte, 1000)
			n, err := unix.Getxattr(d.Sidecar(), name, buf)
			if got := string(buf[:max(n, 0)]); got != attributes[name] {
				t.Errorf("%s is %q, %v, want %q", name, got, err, attributes[name])
			}
		}
	}
	if err := replace(); err != nil {
		t.Fatal(err)
	}
	check()
	if err := unix.Removexattr(d.Sidecar(), "system.posix_acl_access"); err != nil {
		t.Fatal(err)
	}
	delete(attributes, "system.posix_acl_access")
	if want, err = os.Stat(d.Sidecar()); err != nil {
		t.Fatal(err)
	}
	if err := replace(); err != nil {
		t.Fatal(err)
	}
	check()
}

// As root on another's sidecar: a spawner that no longer owned its file could not write
// it again.
func TestReplaceKeepsTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving files away takes root")
	}
	d := daemondirtest.Make(t, t.TempDir(), "a", sidecarText(1, 2), "")
	if err := os.Chown(d.Sidecar(), 65534, 65533); err != nil {
		t.Fatal(err)
	}
	f := openSidecar(t, d, daemondir.ReadWrite)
	text, said, _ := f.Text()
	tail, offset := said.WithLastSeen(text, 3)
	if err := fsys.Replace(d.Sidecar(), entryOf(t, d).Dir, f, text, tail, offset); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(d.Sidecar(), &st); err != nil || st.Uid != 65534 || st.Gid != 65533 {
		t.Errorf("owner is %d:%d, %v", st.Uid, st.Gid, err)
	}
}

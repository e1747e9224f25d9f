//go:build !portable

package fsys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir/daemondirtest"
)

// descriptors returns how many descriptors this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// A root is opened for every pass, for years.
func TestRootLeaksNoDescriptor(t *testing.T) {
	root := t.TempDir()
	before := descriptors(t)
	for range 50 {
		r, err := OpenRoot(root)
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	// The runtime may have opened or closed one of its own.
	if after := descriptors(t); after > before+25 {
		t.Errorf("%d descriptors are open, %d were", after, before)
	}
}

// What can be told of the top alone is told at once.
func TestSurveyOfTop(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "top"), 0o755); err != nil {
		t.Fatal(err)
	}
	r, d := openIn(t, root, "top")
	found, err := r.Survey(d, "top", SurveyOptions{WrittenAfter: time.Now().Add(-time.Hour), EveryTime: true})
	if err != nil || found.Written != "." {
		t.Errorf("written just now: %+v, %v", found, err)
	}
	r.readOnly = true
	found, err = r.Survey(d, "top", SurveyOptions{})
	if err != nil || !errors.Is(found.Obstacle, errReadOnly) {
		t.Errorf("on a read-only file system: %+v, %v", found, err)
	}
}

// A directory that has become something else since it was looked at.
func TestSurveyOfReplacedDirectory(t *testing.T) {
	root := t.TempDir()
	top := filepath.Join(root, "top")
	if err := errors.Join(os.Mkdir(top, 0o755), os.WriteFile(filepath.Join(top, "file"), nil, 0o644), os.Symlink(".", filepath.Join(top, "link"))); err != nil {
		t.Fatal(err)
	}
	s := &survey{trail: openTestTree(t, root, "top").trail}
	for _, name := range []string{"file", "link"} {
		if _, err := s.descend(name); err != ErrReplaced {
			t.Errorf("%s: %v", name, err)
		}
	}
	if found, err := s.descend("none"); err != nil || found != (Finding{}) {
		t.Errorf("what is gone: %+v, %v", found, err)
	}
}

// What cannot be read is an error, and no end.
func TestUnreadableTop(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "top"), 0o755); err != nil {
		t.Fatal(err)
	}
	r, d := openIn(t, root, "top")
	file, err := os.Create(filepath.Join(root, "file")) // getdents(2) refuses it
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := unix.Dup3(int(file.Fd()), d.Fd(), unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	ended := time.AfterFunc(time.Minute, func() { panic("it does not end") })
	defer ended.Stop()
	if freed, err := r.Measure(d, "top"); !errors.Is(err, unix.ENOTDIR) || freed != (Freed{}) {
		t.Errorf("measured %+v, %v", freed, err)
	}
	if found, err := r.Survey(d, "top", SurveyOptions{}); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("found %+v, %v", found, err)
	}
}

// One's own directory can be made writable, whatever its mode; another user's must be.
func TestWritable(t *testing.T) {
	for _, row := range []struct {
		uid  uint32
		want error
	}{{euid, nil}, {euid + 1, errUnwritable}} {
		d := &dir{fd: -1, uid: row.uid} // to which nobody has access
		if err := d.writable(); err != row.want {
			t.Errorf("user %d: %v, want %v", row.uid, err, row.want)
		}
	}
}

func TestMakeWritable(t *testing.T) {
	root := t.TempDir()
	top := filepath.Join(root, "top")
	if err := errors.Join(os.Mkdir(top, 0o700), os.Chmod(top, 0o510|os.ModeSetgid)); err != nil {
		t.Fatal(err)
	}
	d := openTestTree(t, root, "top").top
	if err := d.makeWritable(); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(top); err != nil || info.Sys().(*syscall.Stat_t).Mode&0o7777 != 0o2710 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := d.makeWritable(); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("once more: %v", err)
	}
}

// Without a descriptor to be had, nobody knows whether a file is open elsewhere.
func TestOpenElsewhereWithoutDescriptors(t *testing.T) {
	if !daemondirtest.InChild(t, 0) {
		return
	}
	root := t.TempDir()
	top := filepath.Join(root, "top")
	if err := errors.Join(os.Mkdir(top, 0o755), os.WriteFile(filepath.Join(top, "file"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	d := openTestTree(t, root, "top").top
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	open, err := d.openElsewhere("file")
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if open || !errors.Is(err, unix.EMFILE) {
		t.Errorf("open: %v, %v", open, err)
	}
	if open, err := d.openElsewhere("file"); open || err != nil {
		t.Errorf("with descriptors: %v, %v", open, err)
	}
}

// An attribute whose size or value cannot be read is an error, and not an empty one.
func TestSized(t *testing.T) {
	for _, row := range []struct {
		rule   string
		first  int // what the first call returns
		second int
		err    error
		want   string
	}{
		{"a value", 3, 3, nil, "abc"},
		{"one byte", 1, 1, nil, "a"},
		{"none", 0, 0, nil, ""},
		{"shorter by then", 3, 2, nil, "ab"},
		{"no size", -1, 0, unix.EIO, ""},
	} {
		calls := 0
		got, err := sized(func(buf []byte) (int, error) {
			if calls++; calls == 1 {
				return row.first, row.err
			}
			copy(buf, "abc")
			return row.second, nil
		})
		if string(got) != row.want || err != row.err {
			t.Errorf("%s: %q, %v", row.rule, got, err)
		}
	}
}

// Where leases can be had, nothing was replaced, and no dir is looked into.
func TestRemoveTempsWithLeases(t *testing.T) {
	root := t.TempDir()
	r, err := OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if !r.leases {
		t.Skip("no leases on this file system")
	}
	temp := filepath.Join(root, "web", tempName)
	if err := errors.Join(os.Mkdir(filepath.Dir(temp), 0o755), os.WriteFile(temp, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	RemoveTemps(t.Context(), root, time.Now().Add(time.Hour))
	if _, err := os.Stat(temp); err != nil {
		t.Error(err)
	}
}

func TestNamespaceOf(t *testing.T) {
	if ns, err := namespaceOf("self"); err != nil || ns.depth < 1 || ns.link == "" {
		t.Errorf("our own: %+v, %v", ns, err)
	}
	if ns, err := namespaceOf("0"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nobody's: %+v, %v", ns, err)
	}
}

// Without its table, nobody knows who holds a lock.
func TestLocksWithoutTable(t *testing.T) {
	if !daemondirtest.InChild(t, unix.CLONE_NEWUSER|unix.CLONE_NEWNS) {
		return
	}
	root := t.TempDir()
	dir, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, err := Locks(dir); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(root, "socket") // which cannot be opened
	if err := unix.Mknod(socket, unix.S_IFSOCK|0o600, 0); err != nil {
		t.Fatal(err)
	}
	for _, cover := range []string{"/dev/null", socket} {
		daemondirtest.Mount(t, cover, "/proc/locks")
		if locks, err := Locks(dir); err == nil {
			t.Errorf("hidden by %s: %v", cover, locks)
		}
	}
	if err := unix.Mount("tmpfs", "/proc", "tmpfs", 0, ""); err != nil {
		t.Skipf("no mount: %v", err)
	}
	defer unix.Unmount("/proc", unix.MNT_DETACH)
	if locks, err := Locks(dir); err == nil {
		t.Errorf("without /proc: %v", locks)
	}
	if _, known := Holder(root); known {
		t.Error("it is known that nobody holds the lock")
	}
}

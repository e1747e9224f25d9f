//go:build !portable

package fsys

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir/daemondirtest"
)

// noOpenat2Var says that this process is refused openat2(2).
const noOpenat2Var = "GCTEST_NO_OPENAT2"

// topWithLinks returns the open directory top of a root, in which there are a directory and
// symlinks: to that, and to one outside that has a file.
func topWithLinks(t *testing.T) (d *dir, precious string) {
	t.Helper()
	base := t.TempDir()
	top, precious := filepath.Join(base, "root", "top"), filepath.Join(base, "precious")
	for _, path := range []string{filepath.Join(top, "in", "below"), filepath.Join(precious, "below")} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"near": "in", "far": precious, "up": ".."} {
		if err := os.Symlink(target, filepath.Join(top, link)); err != nil {
			t.Fatal(err)
		}
	}
	return openTestTree(t, filepath.Join(base, "root"), "top").top, precious
}

// Each of the two ways to open a subdirectory follows no symlink. That the first, openat2,
// leads no further than the directory is tested where it is.
func TestOpenFollowsNoSymlink(t *testing.T) {
	top, _ := topWithLinks(t)
	for how, open := range map[string]func(string) (*dir, error){"openat2": top.open, "openat": top.openat} {
		in, err := open("in")
		if err != nil {
			t.Fatalf("%s: %v", how, err)
		}
		in.close()
		for _, name := range []string{"near", "far", "up"} {
			d, err := open(name)
			if err == nil {
				d.close()
			}
			if !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
				t.Errorf("%s by %s: %v", name, how, err)
			}
		}
	}
	if fd, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{}); err == nil {
		unix.Close(fd)
	} else {
		return // openat has no rule for a path
	}
	for _, path := range []string{"near/below", "far/below", "..", "../top"} {
		d, err := top.open(path)
		if err == nil {
			d.close()
			t.Errorf("%s was opened", path)
		}
	}
}

// A symlink is taken for what it is, and never for the directory it leads to.
func TestRemoveSymlink(t *testing.T) {
	top, precious := topWithLinks(t)
	for _, name := range []string{"near", "far", "up"} {
		if f, err := top.stat(name); err != nil || f.dir {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
		if f, err := top.facts(name); err != nil || f.mode.IsDir() {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
		if err := top.remove(name, true); !errors.Is(err, unix.ENOTDIR) {
			t.Errorf("%s was removed as a directory: %v", name, err)
		}
		if err := top.remove(name, false); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, err := os.ReadDir(precious); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A tree has its name no more when that is a symlink, though it leads to the very tree.
func TestEmptyBehindSymlink(t *testing.T) {
	root := t.TempDir()
	top, away := filepath.Join(root, "top"), filepath.Join(root, "away")
	if err := os.MkdirAll(filepath.Join(top, "in"), 0o755); err != nil {
		t.Fatal(err)
	}
	tree := openTestTree(t, root, "top")
	if err := errors.Join(os.Rename(top, away), os.Symlink("away", top)); err != nil {
		t.Fatal(err)
	}
	if err := tree.Empty("", &Freed{}, nil); !errors.Is(err, ErrReplaced) {
		t.Errorf("error %v", err)
	}
	if left, err := os.ReadDir(away); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// What is mounted is not entered: openat2 refuses it, or its device tells.
func TestEnterMount(t *testing.T) {
	if !daemondirtest.InChild(t, unix.CLONE_NEWUSER|unix.CLONE_NEWNS) {
		return
	}
	root, elsewhere := t.TempDir(), t.TempDir()
	for _, name := range []string{"same", "other"} {
		if err := os.MkdirAll(filepath.Join(root, "top", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	other := filepath.Join(root, "top", "other")
	daemondirtest.Mount(t, elsewhere, filepath.Join(root, "top", "same"))
	if err := unix.Mount("tmpfs", other, "tmpfs", 0, ""); err != nil {
		t.Skipf("no mount: %v", err)
	}
	defer unix.Unmount(other, unix.MNT_DETACH)
	tree := openTestTree(t, root, "top")
	before := descriptors(t)
	for _, name := range []string{"same", "other"} {
		if name == "same" && os.Getenv(noOpenat2Var) != "" {
			continue // only the table of mounts tells
		}
		if err := tree.enter(name); !errors.Is(err, ErrMounted) || tree.depth() != 0 {
			t.Errorf("%s device: %v, %d levels down", name, err, tree.depth())
		}
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors are open, %d were", after, before)
	}
}

// Before Linux 5.6, and under some seccomp filters, there is no openat2.
func TestWithoutOpenat2(t *testing.T) {
	for _, refusal := range []unix.Errno{unix.ENOSYS, unix.EPERM} {
		cmd := exec.Command(os.Args[0], "-test.v", "-test.run=^(TestEmptyEnds|TestLeaveWhatWasMoved|TestEnterMount|TestMountedIsNotEntered|TestEmptyBehindSymlink)$")
		cmd.Env = append(os.Environ(), noOpenat2Var+"=1")
		type result struct {
			out     []byte
			err     error
			refused error
		}
		ended := make(chan result)
		go func() {
			runtime.LockOSThread() // never unlocked: the thread ends, and its filter with it
			var r result
			if r.refused = refuseOpenat2(refusal); r.refused == nil {
				r.out, r.err = cmd.CombinedOutput()
			}
			ended <- r
		}()
		switch r := <-ended; {
		case r.refused != nil:
			t.Skipf("no seccomp filter: %v", r.refused)
		case r.err != nil || !strings.Contains(string(r.out), "--- PASS: TestEmptyEnds"):
			t.Errorf("%v: %v\n%s", refusal, r.err, r.out)
		}
	}
}

// refuseOpenat2 makes openat2(2) fail in this thread, and in what it starts (seccomp(2)).
func refuseOpenat2(with unix.Errno) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_OPENAT2, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(with)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	if _, err := unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_PATH}); err != with {
		return fmt.Errorf("openat2 answers %v", err)
	}
	return nil
}

// What is known of an open directory is an error if the kernel does not tell.
func TestIdentifyFails(t *testing.T) {
	d := &dir{fd: -1}
	if err := d.identify(); !errors.Is(err, unix.EBADF) {
		t.Errorf("error %v", err)
	}
	if err := d.makeWritable(); !errors.Is(err, unix.EBADF) {
		t.Errorf("making it writable: %v", err)
	}
	if _, err := newDir(-1, nil); !errors.Is(err, unix.EBADF) {
		t.Errorf("opening it: %v", err)
	}
}

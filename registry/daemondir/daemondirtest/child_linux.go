package daemondirtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// InChild runs the calling test once more, in a child process with namespaces of its
// own, and tells whether we are in that child. A user namespace has its own limits, and
// its root may lower them: the real ones are the system's. Here the test becomes a parallel one,
// in the child it is alone.
func InChild(t *testing.T, namespaces uintptr) bool {
	t.Helper()
	const variable = "GCTEST_CHILD"
	if os.Getenv(variable) == t.Name() {
		return true
	}
	t.Parallel()
	runtime.LockOSThread() // Pdeathsig is sent when the thread that started the child ends
	defer runtime.UnlockOSThread()
	ctx, cancel := context.WithTimeout(t.Context(), 2*Patience)
	defer cancel()
	child := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	// GORACE: a program under the race detector sleeps for a second before it exits.
	child.Env = append(os.Environ(), variable+"="+t.Name(), "GORACE=atexit_sleep_ms=0")
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: syscall.SIGKILL}
	if namespaces&unix.CLONE_NEWUSER != 0 {
		child.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		child.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	var out strings.Builder
	child.Stdout, child.Stderr = &out, &out
	err := child.Start()
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EINVAL) {
		t.Skipf("no user namespaces here: %v", err)
	}
	if err == nil {
		err = child.Wait()
	}
	switch {
	case err != nil:
		t.Errorf("in the child: %v\n%s", err, &out)
	case strings.Contains(out.String(), "--- SKIP"):
		t.Skipf("in the child:\n%s", &out)
	case !strings.Contains(out.String(), "--- PASS: "+t.Name()):
		t.Errorf("not run in the child:\n%s", &out)
	default:
		t.Logf("in the child:\n%s", &out)
	}
	return false
}

// apart runs this process once more, in a mount namespace of its own, and ends with its exit code.
// Who looks for users of a dir has to look anew whenever anything is mounted, and the tests of other
// packages do that. Without the right to, it does nothing; then they have none either.
func apart() {
	const variable = "GCTEST_APART"
	if os.Getenv(variable) != "" || os.Geteuid() != 0 {
		return
	}
	runtime.LockOSThread() // see InChild
	child := exec.Command("/proc/self/exe", os.Args[1:]...)
	child.Env = append(os.Environ(), variable+"=1")
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if child.Start() != nil {
		runtime.UnlockOSThread()
		return
	}
	_ = child.Wait()
	os.Exit(child.ProcessState.ExitCode())
}

// Mount mounts what source is on dir, until the end of the test, or skips the test.
func Mount(t testing.TB, source, dir string) {
	t.Helper()
	if err := unix.Mount(source, dir, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("no bind mounts: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
}

// MountSilent mounts a file system on dir that does not answer until it is unmounted by free, or
// skips the test. The test must be in a mount namespace of its own.
func MountSilent(t testing.TB, dir string) (free func()) {
	t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no FUSE to be had: %v", err)
	}
	if err := unix.Mount("test", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		unix.Close(fd)
		t.Skipf("no FUSE to be had: %v", err)
	}
	return func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		unix.Close(fd) // which ends all calls that wait
	}
}

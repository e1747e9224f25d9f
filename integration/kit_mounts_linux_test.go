package integration

// File systems of a test's own.

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// ownMountsEnv tells a test that it runs in a mount namespace of its own.
const ownMountsEnv = "GCTEST_OWN_MOUNTS"

// inOwnMounts says whether the test may mount what it likes. If not, it runs the test
// again where it may, an ordinary user as root of a user namespace, and waits for that:
// what is mounted there is gone with it, whatever ends it.
func inOwnMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(ownMountsEnv) != "" {
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.v", "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(prebuilt(t), ownMountsEnv+"=1")
	cmd.SysProcAttr = inOwnNamespaces(unix.CLONE_NEWNS)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Skipf("no mount namespace to be had: %v", err)
	}
	err = cmd.Wait()
	switch {
	case err != nil:
		t.Errorf("in a mount namespace: %v\n%s", err, &out)
	case strings.Contains(out.String(), "--- SKIP: "+t.Name()):
		t.Skipf("in a mount namespace: %s", &out)
	case !strings.Contains(out.String(), "--- PASS: "+t.Name()):
		t.Errorf("it did not run in a mount namespace:\n%s", &out)
	}
	return false
}

// inOwnNamespaces returns attributes for a process with namespaces of its own, an ordinary
// user's in a user namespace whose root it is. No flags: none of its own.
func inOwnNamespaces(flags uintptr) *syscall.SysProcAttr {
	// Unshared, not cloned: Go then makes all mounts private.
	attr := &syscall.SysProcAttr{Unshareflags: flags, Pdeathsig: syscall.SIGKILL}
	if flags != 0 && os.Geteuid() != 0 {
		attr.Cloneflags = unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return attr
}

// mount is mount(2) until the end of the test, or the reason to skip the test.
func mount(t *testing.T, source, target, fstype string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, target, fstype, flags, data); err != nil {
		t.Skipf("no mount on %s: %v", target, err)
	}
	if flags&unix.MS_REMOUNT == 0 {
		t.Cleanup(func() { unix.Unmount(target, unix.MNT_DETACH) })
	}
}

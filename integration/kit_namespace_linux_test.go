package integration

// Processes in pid namespaces of their own, as in a container that shares the root.

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// inNamespaceArg makes the test binary the first process of a pid namespace:
//
//	in-namespace IMAGE ROOT NAME COMMAND...
//
// It mounts the /proc of the namespace, spawns the daemon NAME in ROOT from IMAGE, unless
// NAME is empty, and becomes COMMAND.
const inNamespaceArg = "in-namespace"

// runInNamespace does that, and returns false if it is not asked for.
func runInNamespace() bool {
	if len(os.Args) < 6 || os.Args[1] != inNamespaceArg {
		return false
	}
	image, root, name, command := os.Args[2], os.Args[3], os.Args[4], os.Args[5:]
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if err == nil {
		err = unix.Mount("proc", "/proc", "proc", 0, "")
	}
	if err == nil && name != "" {
		err = spawnInNamespace(image, root, name)
	}
	if err == nil {
		err = unix.Exec(command[0], command, os.Environ())
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", inNamespaceArg, err)
	os.Exit(1)
	return true
}

func spawnInNamespace(image, root, name string) error {
	d := daemondirtest.Dir{Root: root, Name: name}
	if err := d.Mkdir(); err != nil {
		return err
	}
	now := time.Now()
	if err := d.WriteSidecar(daemondirtest.Sidecar(now, now)); err != nil {
		return err
	}
	link := filepath.Join(d.Path(), name)
	if err := os.Link(image, link); err != nil {
		return err
	}
	cmd := waiting(link)
	cmd.SysProcAttr = nil // it ends with the namespace
	if err := cmd.Start(); err != nil {
		return err
	}
	return d.WritePID(strconv.Itoa(cmd.Process.Pid))
}

// ownNamespace returns attributes for a process in a pid namespace of its own. If there are
// none to be had, it skips the test.
func ownNamespace(t *testing.T) *syscall.SysProcAttr {
	t.Helper()
	attr := func() *syscall.SysProcAttr {
		attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
		if os.Geteuid() != 0 {
			attr.Cloneflags |= unix.CLONE_NEWUSER
			attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
			attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		}
		return attr
	}
	self := ownProgram(t)
	cmd := exec.Command(self, inNamespaceArg, "", "", "", "/bin/true")
	cmd.SysProcAttr = attr()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("no pid namespace to be had: %v %s", err, out)
	}
	return attr()
}

// startWatchInNamespace is startWatchBy in a pid namespace of its own, in which the daemon
// name lives, unless name is empty.
func startWatchInNamespace(t *testing.T, by []string, root, name string, args ...string) *watchProcess {
	t.Helper()
	self := ownProgram(t)
	by = append([]string{self, inNamespaceArg, trampolineImage(t), root, name}, by...)
	return startWatchBy(t, by, ownNamespace(t), root, args...)
}

// killInNamespace kills the daemon name, a child of the watch, which does not wait for it.
func (w *watchProcess) killInNamespace(name string) {
	w.t.Helper()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", w.cmd.Process.Pid))
	noError(w.t, err)
	for _, pid := range strings.Fields(string(children)) {
		exe, _ := os.ReadFile("/proc/" + pid + "/cmdline")
		if path, _, _ := strings.Cut(string(exe), "\x00"); filepath.Base(path) == name {
			n, err := strconv.Atoi(pid)
			noError(w.t, err)
			noError(w.t, syscall.Kill(n, syscall.SIGKILL))
			return
		}
	}
	w.t.Fatalf("no process of %q among %s", name, children)
}

//go:build !portable

package proc

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir/daemondirtest"
)

// A kernel thread has no program and uses nothing, also for an ordinary user, who may not inspect
// it. Root has one look: at a kernel thread, if one is in sight, and else at process 1, which is
// made to look like one.
func TestKernelThread(t *testing.T) {
	isKernel := func(dir string) bool {
		kernel, err := kernelThread(dir)
		return err == nil && kernel
	}
	if os.Geteuid() == 0 {
		if isKernel("/proc/2") {
			wantKernelThread(t, 2)
		}
		if !daemondirtest.InChild(t, unix.CLONE_NEWNS) {
			return
		}
		if !isKernel("/proc/2") {
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				t.Fatal(err)
			}
			stat := filepath.Join(t.TempDir(), "stat")
			daemondirtest.WriteFile(t, stat, "1 (kthreadd) S 0 0 0 0 -1 2129984")
			daemondirtest.Mount(t, stat, "/proc/1/stat")
		}
		passesAsUser(t)
		return
	}
	switch {
	case isKernel("/proc/2"):
		wantKernelThread(t, 2)
	case isKernel("/proc/1"):
		wantKernelThread(t, 1)
	default:
		t.Skip("no kernel thread is in sight")
	}
	// Who may not be inspected, and is none, counts.
	pid, _ := startUser(t, "not dumpable", "", 0)
	if got := unreadable(t, pid); got != 1 {
		t.Errorf("%d processes are taken for ones that may not be looked into, want pid %d", got, pid)
	}
}

func wantKernelThread(t *testing.T, pid int) {
	t.Helper()
	f, h := inspect(uint32(pid), Query{Dir: t.TempDir()})
	h.Close()
	if !f.Exists || f.Exe != ExeElsewhere || f.Foreign {
		t.Errorf("pid %d: %+v, want one whose program is elsewhere", pid, f)
	}
	if got := unreadable(t, pid); got != 0 {
		t.Errorf("pid %d is taken for one that may not be looked into", pid)
	}
}

// unreadable returns how many of one process may not be looked into.
func unreadable(t *testing.T, pid int) int {
	t.Helper()
	u := Users{root: t.TempDir(), byName: make(map[string]Use), sockets: make(map[uint32]Use)}
	if err := u.look([]int32{int32(pid)}); err != nil {
		t.Fatal(err)
	}
	return u.Unreadable
}

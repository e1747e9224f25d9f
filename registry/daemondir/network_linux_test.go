//go:build !portable

package daemondir

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNetworkType(t *testing.T) {
	dir := t.TempDir()
	if kind, err := NetworkType("/proc"); kind != "" || err != nil {
		t.Errorf("/proc is %q, %v", kind, err)
	}
	if _, err := NetworkType(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if kind, err := NetworkType(filepath.Join(dir, strings.Repeat("x", 300))); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a name that cannot be asked for: %q, %v", kind, err)
	}
}

// Those that golang.org/x/sys does not name, as coreutils' stat.c has them.
func TestNetworkTypeNumbers(t *testing.T) {
	for kind, number := range map[string]uint32{
		"beegfs": 0x19830326, "gfs2": 0x01161970, "gpfs": 0x47504653, "lustre": 0x0bd00bd0,
		"orangefs": 0x20030528, "vboxsf": 0x786f4256, "vmhgfs": 0xbacbacbc,
	} {
		if got := networkTypes[number]; got != kind {
			t.Errorf("%#x is %q, want %q", number, got, kind)
		}
	}
}

// FUSE says what it is without its server to whoever may not use the mount.
func TestNetworkTypeOfFUSE(t *testing.T) {
	dir := t.TempDir()
	type answer struct {
		kind string
		err  error
		skip error
	}
	answers := make(chan answer)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends, and its mounts with it
		var a answer
		a.skip = func() error {
			if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return err
			}
			fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd) // which aborts the mount: nothing can wait for it
			if err := unix.Mount("test", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=54321,group_id=54321", fd)); err != nil {
				return err
			}
			a.kind, a.err = networkType(dir) // in this thread
			return unix.Unmount(dir, unix.MNT_DETACH)
		}()
		answers <- a
	}()
	switch a := <-answers; {
	case a.skip != nil:
		t.Skipf("no FUSE to be had: %v", a.skip)
	case a.kind != "fuse" || a.err != nil:
		t.Errorf("got %q, %v", a.kind, a.err)
	}
}

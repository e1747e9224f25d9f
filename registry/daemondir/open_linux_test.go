//go:build !portable

package daemondir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir/daemondirtest"
)

// What the kernel says when a file of a daemon dir is opened, and what that means.
func TestOpenError(t *testing.T) {
	for said, want := range map[error]error{
		unix.EAGAIN: ErrBusy,
		unix.ELOOP:  errNotRegular, unix.EISDIR: errNotRegular, unix.ENXIO: errNotRegular,
		unix.ENOENT: fs.ErrNotExist, unix.ESTALE: fs.ErrNotExist,
		unix.EACCES: fs.ErrPermission,
		unix.EIO:    unix.EIO,
	} {
		if got := openError(said); !errors.Is(got, want) {
			t.Errorf("%v: %v, want %v", said, got, want)
		}
	}
}

// A dir is mounted only if something is mounted on it: else it is read without the detour.
func TestOpenMounted(t *testing.T) {
	if !daemondirtest.InChild(t, unix.CLONE_NEWUSER|unix.CLONE_NEWNS) {
		return
	}
	root := t.TempDir()
	for _, name := range []string{"plain", "mounted"} {
		daemondirtest.Make(t, root, name, "{}", "1")
	}
	daemondirtest.Mount(t, filepath.Join(root, "plain"), filepath.Join(root, "mounted"))
	for name, want := range map[string]bool{"plain": false, "mounted": true} {
		d, err := Open(root, name)
		if err != nil {
			t.Fatal(err)
		}
		if d.Close(); d.mounted != want {
			t.Errorf("%s: mounted %v", name, d.mounted)
		}
	}
}

// A file is whole if it has the size that is asked for, be that none.
func TestWholeOfSize(t *testing.T) {
	root := t.TempDir()
	for _, text := range []string{"", "x", "{}"} {
		d := daemondirtest.Make(t, root, "web", text, "")
		f, err := openDir(t, root, "web").OpenSidecar(ReadOnly)
		if err != nil {
			t.Fatal(err)
		}
		for size := int64(-1); size <= 3; size++ {
			got, whole := f.Whole(nil, size)
			if want := size == int64(len(text)); whole != want || whole && string(got) != text {
				t.Errorf("%q, size %d: %q, %v", text, size, got, whole)
			}
		}
		f.Close()
		if err := os.RemoveAll(d.Path()); err != nil {
			t.Fatal(err)
		}
	}
}

// A pid file that may not be read may name a live daemon. Of root the kernel asks the user that
// a thread has for the file system (setfsuid(2)).
func TestReadPermissionOfPIDFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root; TestReadPermission is for a user")
	}
	root := t.TempDir()
	d := daemondirtest.Make(t, root, "web", `{"last_seen_unix_ms":2}`, "12")
	// The rest may be read, and the way to it be gone.
	err := errors.Join(os.Chmod(filepath.Dir(root), 0o755), os.Chmod(root, 0o755), os.Chmod(d.Path(), 0o755),
		os.Chmod(d.Sidecar(), 0o644), os.Chmod(d.PIDFile(), 0))
	if err != nil {
		t.Fatal(err)
	}
	var e Entry
	read := make(chan struct{})
	go func() {
		defer close(read)
		runtime.LockOSThread() // never unlocked: the thread ends
		if err = unix.Setfsuid(65534); err == nil {
			e, err = Read(root, "web")
		}
	}()
	<-read
	if err != nil || e.Problem != ProblemPermission || e.Sidecar == (Stamp{}) || e.PID.Known || e.LastSeen.Known {
		t.Errorf("%+v, %v", e, err)
	}
}

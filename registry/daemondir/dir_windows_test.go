package daemondir

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/windows"

	"runtimegc/registry/daemondir/daemondirtest"
)

// openSharing opens a file or directory as a program does that lets others do no more than share.
func openSharing(t *testing.T, path string, access, share uint32) {
	t.Helper()
	h, err := windows.CreateFile(windows.StringToUTF16Ptr(path), access, share, nil, windows.OPEN_EXISTING,
		windows.FILE_FLAG_BACKUP_SEMANTICS, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { windows.CloseHandle(h) })
}

// What another process does not share, or has locked, is busy: neither missing nor invalid.
func TestReadWhatIsNotShared(t *testing.T) {
	for rule, hold := range map[string]func(t *testing.T, d daemondirtest.Dir){
		"the sidecar": func(t *testing.T, d daemondirtest.Dir) {
			openSharing(t, d.Sidecar(), windows.GENERIC_READ, 0)
		},
		"the pid file, being written": func(t *testing.T, d daemondirtest.Dir) {
			openSharing(t, d.PIDFile(), windows.GENERIC_WRITE, 0)
		},
		"the dir": func(t *testing.T, d daemondirtest.Dir) {
			openSharing(t, d.Path(), windows.GENERIC_READ, 0)
		},
		"a lock on a part of the sidecar": func(t *testing.T, d daemondirtest.Dir) {
			f, err := os.OpenFile(d.Sidecar(), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY,
				0, 1, 0, new(windows.Overlapped))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.ReadFile(d.Sidecar()); err == nil {
				t.Skip("locks do not keep readers out here") // Wine 8
			}
		},
	} {
		t.Run(rule, func(t *testing.T) {
			d := daemondirtest.Make(t, t.TempDir(), "web", written, "4711")
			hold(t, d)
			if e, err := Read(d.Root, "web"); !errors.Is(err, ErrBusy) || e != (Entry{}) {
				t.Errorf("%+v, %v; want no entry, and %v", e, err, ErrBusy)
			}
		})
	}
}

// A stamp needs no access to the data, so it can be had all the same.
func TestStampOfWhatIsNotShared(t *testing.T) {
	d := daemondirtest.Make(t, t.TempDir(), "web", written, "4711")
	before := SidecarStamp(d.Root, "web")
	openSharing(t, d.Sidecar(), windows.GENERIC_READ|windows.GENERIC_WRITE, 0)
	if now := SidecarStamp(d.Root, "web"); now != before || now.Ino == 0 {
		t.Errorf("%+v, want %+v", now, before)
	}
}

// Nobody is kept from renaming or removing a dir, a file in it or the root, by what we have
// open there while we read. (What another process renames over a file that we read, it may be
// refused, where the system or the file system has no FILE_RENAME_POSIX_SEMANTICS.)
func TestOpenDirIsNotInTheWay(t *testing.T) {
	for rule, do := range map[string]func(d daemondirtest.Dir) error{
		"renaming the dir":     func(d daemondirtest.Dir) error { return os.Rename(d.Path(), d.Path()+"-away") },
		"removing the sidecar": func(d daemondirtest.Dir) error { return os.Remove(d.Sidecar()) },
		"writing the sidecar":  func(d daemondirtest.Dir) error { return d.WriteSidecar([]byte("{}")) },
	} {
		t.Run(rule, func(t *testing.T) {
			d := daemondirtest.Make(t, t.TempDir(), "web", written, "4711")
			open := openDir(t, d.Root, "web")
			f, err := open.OpenSidecar(ReadOnly)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if rule == "renaming the dir" {
				f.Close() // NTFS renames no directory in which a file is open
			}
			if err := do(d); err != nil {
				t.Error(err)
			}
		})
	}
	// The handles of a root.
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := OpenShared(root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	list, err := OpenList(root)
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	if _, err := list.ReadDir(-1); err != nil {
		t.Errorf("listing the root: %v", err)
	}
	if err := os.Rename(root, root+"-away"); err != nil {
		t.Errorf("renaming the root: %v", err)
	}
}

// While a sidecar is open for a refresh, it can be read, but nobody else writes it; and a
// sidecar that somebody has open for writing is not opened for a refresh.
func TestOpenForARefresh(t *testing.T) {
	d := daemondirtest.Make(t, t.TempDir(), "web", written, "4711")
	open := openDir(t, d.Root, "web")
	f, err := open.OpenSidecar(ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := Read(d.Root, "web"); err != nil || e.Problem != ProblemNone {
		t.Errorf("reading it: %+v, %v", e, err)
	}
	if _, err := open.OpenSidecar(ReadWrite); !errors.Is(err, ErrBusy) {
		t.Errorf("opening it again: %v", err)
	}
	if err := d.WriteSidecar([]byte("{}")); !Busy(err) {
		t.Errorf("writing it: %v", err)
	}
	f.Close()
	openSharing(t, d.Sidecar(), windows.GENERIC_WRITE, shareAll)
	if f, err := open.OpenSidecar(ReadWrite); !errors.Is(err, ErrBusy) {
		f.Close()
		t.Errorf("opening what another has open for writing: %v", err)
	}
}

// A junction is no daemon dir, wherever it leads.
func TestJunction(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	daemondirtest.Make(t, outside, "web", written, "4711")
	link := filepath.Join(root, "web")
	out, err := exec.Command("cmd", "/c", "mklink", "/J", link, filepath.Join(outside, "web")).CombinedOutput()
	if _, statErr := os.Lstat(link); err != nil || statErr != nil {
		t.Skipf("no junctions here: %v, %s", errors.Join(err, statErr), out) // Wine 8
	}
	if e, err := Read(root, "web"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%+v, %v; want no dir", e, err)
	}
	if kind := Look(root, "web"); kind != NoDirectory {
		t.Errorf("it looks like %v", kind)
	}
}

// A read-only file or directory is removed as any other.
func TestRemoveInReadOnly(t *testing.T) {
	root := t.TempDir()
	file, dir := filepath.Join(root, "file"), filepath.Join(root, "dir")
	daemondirtest.WriteFile(t, file, "")
	err := errors.Join(os.Mkdir(dir, 0o755), os.Chmod(file, 0o444), os.Chmod(dir, 0o555))
	r, openErr := OpenShared(root)
	if err := errors.Join(err, openErr); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, name := range []string{"file", "dir"} {
		if err := RemoveIn(r, name); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(filepath.Join(root, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	if err := RemoveIn(r, "missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removing nothing: %v", err)
	}
}

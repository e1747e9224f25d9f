package fsys

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

// lockVar makes a process that runs TestRootLockEndsWithItsProcess hold the lock on that root.
const lockVar = "GCTEST_LOCK"

// tempDir is t.TempDir, whose os.RemoveAll Wine 8 cannot do (Invalid function).
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lock")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		left, _ := filepath.Glob(filepath.Join(dir, "*"))
		for _, path := range append(left, dir) {
			if err := os.Remove(path); err != nil {
				t.Error(err)
			}
		}
	})
	return dir
}

func openLock(t *testing.T, root string) *RootLock {
	t.Helper()
	l, err := OpenLock(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func wantHeld(t *testing.T, err error, pid int) {
	t.Helper()
	var held *HeldError
	want := fmt.Sprintf("pid %d (%s)", pid, filepath.Base(os.Args[0]))
	if !errors.As(err, &held) || held.Elsewhere || !strings.EqualFold(held.Error(), want) {
		t.Errorf("locked: %v, want %q", err, want)
	}
}

// One process has the lock, by whatever path it knows the root, and others are told which.
func TestRootLock(t *testing.T) {
	root := filepath.Join(tempDir(t), "A long name of a Root")
	other := root + "2"
	if err := errors.Join(os.Mkdir(root, 0o755), os.Mkdir(other, 0o755)); err != nil {
		t.Fatal(err)
	}
	first := openLock(t, root)
	for range 2 { // once more is nothing
		if err := first.Take(); err != nil {
			t.Fatal(err)
		}
	}
	paths := map[string]string{
		"the same path": root,
		"upper case":    strings.ToUpper(root),
		"lower case":    strings.ToLower(root),
		"separators":    filepath.ToSlash(root) + "/",
		"dots":          root + `\..\` + filepath.Base(root),
		`\\?\`:          `\\?\` + root,
	}
	if short, err := shortPath(root); err == nil && !strings.EqualFold(short, root) {
		paths["short names"] = short
	} else {
		t.Logf("no short names: %q, %v", short, err)
	}
	link := root + ".link"
	err := os.Symlink(root, link)
	if err == nil {
		_, err = os.Stat(link) // Wine 8 makes none, and says that it has
	}
	if err == nil {
		paths["a symlink"] = link
	} else {
		t.Logf("no symlinks: %v", err)
	}
	for how, path := range paths {
		t.Run(how, func(t *testing.T) {
			wantHeld(t, openLock(t, path).Take(), os.Getpid())
		})
	}
	if err := openLock(t, other).Take(); err != nil {
		t.Errorf("another root: %v", err)
	}
	second := openLock(t, root)
	wantHeld(t, second.Take(), os.Getpid())
	first.Close()
	if err := second.Take(); err != nil {
		t.Errorf("after it was released: %v", err)
	}
}

func shortPath(path string) (string, error) {
	long, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return "", err
	}
	buf := make([]uint16, windows.MAX_LONG_PATH)
	n, err := windows.GetShortPathName(long, &buf[0], uint32(len(buf)))
	return windows.UTF16ToString(buf[:n]), err
}

// A root that is locked can be renamed and removed. The lock is that of the directory, not of
// whatever has its path.
func TestLockedRootCanBeMoved(t *testing.T) {
	root := filepath.Join(tempDir(t), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	first := openLock(t, root)
	if err := first.Take(); err != nil {
		t.Fatal(err)
	}
	moved := root + ".moved"
	if err := errors.Join(os.Rename(root, moved), os.Mkdir(root, 0o755)); err != nil {
		t.Fatalf("it cannot be renamed: %v", err)
	}
	wantHeld(t, openLock(t, moved).Take(), os.Getpid())
	if err := openLock(t, root).Take(); err != nil {
		t.Errorf("the new root: %v", err)
	}
	if err := os.Remove(moved); err != nil {
		t.Errorf("it cannot be removed: %v", err)
	}
	if _, err := OpenLock(moved); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a root that is not there: %v", err)
	}
}

// The lock ends with its process, even if that is killed.
func TestRootLockEndsWithItsProcess(t *testing.T) {
	if root := os.Getenv(lockVar); root != "" {
		fmt.Printf("took: %v\n", openLock(t, root).Take())
		time.Sleep(time.Hour)
	}
	root := tempDir(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), lockVar+"="+root)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "took: <nil>" {
		t.Fatalf("the other process: %q, %v", line, err)
	}
	l := openLock(t, root)
	wantHeld(t, l.Take(), cmd.Process.Pid)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if err := l.Take(); err != nil {
		t.Errorf("pid %d was killed: %v", cmd.Process.Pid, err)
	}
}

package watcher

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// rewriteOnceRead writes pid 2 into the pid file of each dir in root, right when somebody has
// read it for the first time. It returns at once; what comes of it can be waited for.
func rewriteOnceRead(t *testing.T, root string, names []string) (done <-chan error) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		t.Skipf("no inotify: %v", err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	t.Cleanup(func() { events.Close() })
	files := make(map[int32]*os.File)
	for _, name := range names {
		path := filepath.Join(root, name, daemondir.PIDFileName)
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		wd, err := unix.InotifyAddWatch(fd, path, unix.IN_CLOSE_NOWRITE|unix.IN_ONESHOT)
		if err != nil {
			t.Skipf("no inotify: %v", err)
		}
		files[int32(wd)] = f
	}
	result := make(chan error, 1)
	go func() {
		buf := make([]byte, 64*unix.SizeofInotifyEvent) // of a file there is no name
		for left := len(files); left > 0; {
			n, err := events.Read(buf)
			if err != nil {
				result <- err
				return
			}
			for at := 0; at < n; at += unix.SizeofInotifyEvent {
				ev := (*unix.InotifyEvent)(unsafe.Pointer(&buf[at]))
				if ev.Mask&unix.IN_CLOSE_NOWRITE == 0 {
					continue
				}
				left--
				if _, err := files[ev.Wd].WriteAt([]byte("2"), 0); err != nil {
					result <- err
					return
				}
			}
		}
		result <- nil
	}()
	return result
}

// A dir is watched before it is read, in a scan and when it is new: what is written right after
// the read must raise an event.
func TestWatchedBeforeItIsRead(t *testing.T) {
	top := t.TempDir()
	root, fresh := mkdir(t, filepath.Join(top, "runtime")), mkdir(t, filepath.Join(top, "fresh"))
	var found, moved []string
	for i := range 3 * scanBatch {
		found = append(found, fmt.Sprint("found", i))
		spawn(t, root, found[i], 1)
		moved = append(moved, fmt.Sprint("moved", i))
		spawn(t, fresh, moved[i], 1)
	}
	written := rewriteOnceRead(t, root, found)
	w := start(t, setup{Root: root})
	wantAll := func(names []string) {
		t.Helper()
		if err := <-written; err != nil {
			t.Fatal(err)
		}
		daemondirtest.EventuallyNone(t, func() string {
			var missed []string
			for _, name := range names {
				if !w.hasPID(name, 2) {
					missed = append(missed, name)
				}
			}
			if len(missed) == 0 {
				return ""
			}
			return fmt.Sprintf("noticed what was written in %q", missed)
		})
	}
	wantAll(found)

	written = rewriteOnceRead(t, fresh, moved)
	for _, name := range moved {
		rename(t, filepath.Join(fresh, name), filepath.Join(root, name))
	}
	wantAll(moved)
	w.waitEqual()
}

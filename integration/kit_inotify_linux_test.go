package integration

// What happens to the entries of a directory, as the kernel says it.

import (
	"bytes"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// entryEvents are events of the entries of directories. They are for one goroutine.
type entryEvents struct {
	t     testing.TB
	fd    int
	buf   [16 << 10]byte
	ready []byte // the rest of what was read
}

// entryEvent is one of them.
type entryEvent struct {
	mask  uint32
	name  string
	watch int32 // of which directory
}

// watchEntries begins to listen to dir, until the end of the test.
func watchEntries(t testing.TB, dir string, mask uint32) *entryEvents {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	noError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	w := &entryEvents{t: t, fd: fd}
	_, err = w.add(dir, mask)
	noError(t, err)
	return w
}

// add listens to one more directory. The number is the same for the same directory.
func (w *entryEvents) add(dir string, mask uint32) (watch int32, err error) {
	n, err := unix.InotifyAddWatch(w.fd, dir, mask|unix.IN_ONLYDIR|unix.IN_DONT_FOLLOW)
	return int32(n), err
}

// next returns the next event; false if there is none until the time is over.
func (w *entryEvents) next(wait time.Duration) (entryEvent, bool) {
	for deadline := time.Now().Add(wait); len(w.ready) == 0; {
		n, err := unix.Read(w.fd, w.buf[:])
		switch left := time.Until(deadline); {
		case err == nil:
			w.ready = w.buf[:n]
		case err != unix.EAGAIN && err != unix.EINTR:
			w.t.Errorf("reading inotify events: %v", err)
			return entryEvent{}, false
		case left <= 0:
			return entryEvent{}, false
		default:
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		}
	}
	head := (*unix.InotifyEvent)(unsafe.Pointer(&w.ready[0]))
	size := unix.SizeofInotifyEvent + int(head.Len)
	name, _, _ := bytes.Cut(w.ready[unix.SizeofInotifyEvent:size], []byte{0})
	w.ready = w.ready[size:]
	if head.Mask&unix.IN_Q_OVERFLOW != 0 {
		w.t.Error("inotify events were lost")
	}
	return entryEvent{head.Mask, string(name), head.Wd}, true
}

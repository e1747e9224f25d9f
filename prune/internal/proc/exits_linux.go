//go:build !portable

package proc

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// descriptorsPerDaemon is how many descriptors a live daemon takes: a pidfd.
const descriptorsPerDaemon = 1

// A waiter is one epoll over pidfds, waited for by one goroutine through Go's own poller.
type waiter struct {
	epoll  *os.File // readable when a pidfd is
	conn   syscall.RawConn
	events [64]unix.EpollEvent
	exited [64]Handle
}

// newWaiter returns a waiter that waits for nothing yet.
func newWaiter() (*waiter, error) {
	switch self, err := unix.PidfdOpen(os.Getpid(), 0); err {
	case nil:
		unix.Close(self)
	case unix.ENOSYS, unix.EPERM, unix.EACCES: // before Linux 5.3, or under a seccomp filter
		return nil, fmt.Errorf("opening a pidfd: %w: %w", errors.ErrUnsupported, err)
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("making an epoll: %w", err)
	}
	// Nonblocking, so that os.NewFile hands it to Go's poller: a read then parks a
	// goroutine, not a thread, and Close ends it.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("making an epoll: %w", err)
	}
	w := &waiter{epoll: os.NewFile(uintptr(fd), "epoll")}
	if w.conn, err = w.epoll.SyscallConn(); err != nil {
		w.epoll.Close()
		return nil, fmt.Errorf("making an epoll: %w", err)
	}
	budget.open(1)
	return w, nil
}

// add has wait return h, once, when its process has exited. It reports false if the budget of
// this process has no room for it.
func (w *waiter) add(h Handle) bool {
	if !budget.take() {
		return false
	}
	var err error
	_ = w.conn.Control(func(epfd uintptr) {
		err = unix.EpollCtl(int(epfd), unix.EPOLL_CTL_ADD, int(h),
			&unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(h)})
	})
	if err != nil {
		budget.give()
	}
	return err == nil
}

// remove gives back the room of h; the kernel forgets it when it is closed.
func (w *waiter) remove(Handle) { budget.give() }

func (w *waiter) hasRoom() bool { return budget.hasRoom() }

// wait returns which processes have exited, until the next call. It waits for one, or returns
// false after close.
func (w *waiter) wait() ([]Handle, bool) {
	n := 0
	err := w.conn.Read(func(epfd uintptr) bool {
		var err error
		n, err = unix.EpollWait(int(epfd), w.events[:], 0)
		return err != nil && err != unix.EINTR || n > 0
	})
	n = max(n, 0)
	for i, event := range w.events[:n] {
		w.exited[i] = Handle(event.Fd)
	}
	return w.exited[:n], err == nil
}

func (w *waiter) close() {
	budget.open(-1)
	w.epoll.Close()
}

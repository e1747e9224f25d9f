//go:build !portable

package proc

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Exits announces at once which of the processes it was given has exited: one epoll over
// their pidfds, waited for by one goroutine through Go's own poller.
type Exits struct {
	epoll *os.File // readable when a pidfd is
	conn  syscall.RawConn
	c     chan Exit
	done  chan struct{}

	mu    sync.Mutex // guards names
	names map[Handle]string
}

// NewExits returns an Exits that watches nothing yet. The error is [errors.ErrUnsupported] if the
// system has no handles, or says why there is none now.
func NewExits() (*Exits, error) {
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
	x := &Exits{
		epoll: os.NewFile(uintptr(fd), "epoll"),
		c:     make(chan Exit),
		done:  make(chan struct{}),
		names: make(map[Handle]string),
	}
	if x.conn, err = x.epoll.SyscallConn(); err != nil {
		x.epoll.Close()
		return nil, fmt.Errorf("making an epoll: %w", err)
	}
	budget.open(1)
	return x, nil
}

// Add has the exit of the process behind h announced under name, once. It reports false if
// the budget of this process has no room for h: the caller closes h, and must look itself.
func (x *Exits) Add(h Handle, name string) bool {
	if !budget.take() {
		return false
	}
	x.mu.Lock()
	x.names[h] = name
	x.mu.Unlock()
	var err error
	_ = x.conn.Control(func(epfd uintptr) {
		err = unix.EpollCtl(int(epfd), unix.EPOLL_CTL_ADD, int(h),
			&unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(h)})
	})
	if err != nil {
		x.Remove(h)
	}
	return err == nil
}

// Remove forgets h; the kernel does when it is closed.
func (x *Exits) Remove(h Handle) {
	x.mu.Lock()
	_, held := x.names[h]
	delete(x.names, h)
	x.mu.Unlock()
	if held {
		budget.give()
	}
}

// HasRoom reports whether the budget has room for an eighth more of what it holds, and not
// only for what was given back just now.
func (x *Exits) HasRoom() bool { return budget.hasRoom() }

// Announced yields each exit as it happens; none if x is nil.
func (x *Exits) Announced() <-chan Exit {
	if x == nil {
		return nil
	}
	return x.c
}

// Run announces exits until [Exits.Close].
func (x *Exits) Run() {
	events := make([]unix.EpollEvent, 64)
	for {
		n := 0
		err := x.conn.Read(func(epfd uintptr) bool {
			var err error
			n, err = unix.EpollWait(int(epfd), events, 0)
			return err != nil && err != unix.EINTR || n > 0
		})
		if err != nil {
			return
		}
		at := time.Now()
		for _, ev := range events[:max(n, 0)] {
			x.mu.Lock()
			name, ok := x.names[Handle(ev.Fd)]
			x.mu.Unlock()
			if !ok {
				continue
			}
			select {
			case x.c <- Exit{name, at}:
			case <-x.done:
				return
			}
		}
	}
}

// Close ends Run. The handles remain, and with them their part of the budget, until Remove.
func (x *Exits) Close() {
	budget.open(-1)
	close(x.done)
	x.epoll.Close()
}

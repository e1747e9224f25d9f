//go:build !portable

package proc

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// reservedFDs is how many descriptors are left for all else (logs, inotify, the files
// of one read, one removal) when pidfds are held: Go raises the soft limit of open
// files to the hard one, and what is beyond this is found by the sweep.
const reservedFDs = 128

// Exits announces at once which of the processes it was given has exited: one epoll over
// their pidfds, waited for by one goroutine through Go's own poller.
type Exits struct {
	epoll *os.File // readable when a pidfd is
	conn  syscall.RawConn
	limit int
	c     chan Exit
	done  chan struct{}

	mu    sync.Mutex // guards names
	names map[Handle]string
}

// NewExits returns an Exits that watches nothing yet. The error says why there is none.
func NewExits() (*Exits, error) {
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
	x.limit = 1024
	var rlimit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &rlimit) == nil {
		x.limit = int(min(rlimit.Cur, 1<<30))
	}
	return x, nil
}

// Add has the exit of the process behind h announced under name, once. It reports false
// if there is no room for it: the caller closes h, and must look itself.
func (x *Exits) Add(h Handle, name string) bool {
	x.mu.Lock()
	room := len(x.names) < x.limit-reservedFDs
	if room {
		x.names[h] = name
	}
	x.mu.Unlock()
	if !room {
		return false
	}
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
	delete(x.names, h)
	x.mu.Unlock()
}

// Announced yields each exit as it happens.
func (x *Exits) Announced() <-chan Exit { return x.c }

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

// Close ends Run.
func (x *Exits) Close() {
	close(x.done)
	x.epoll.Close()
}

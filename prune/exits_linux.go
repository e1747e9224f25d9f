//go:build !portable

package prune

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

// exits tells at once which of the processes it was given has exited: one epoll over
// their pidfds, waited for by one goroutine through Go's own poller.
type exits struct {
	epoll *os.File // readable when a pidfd is
	conn  syscall.RawConn
	limit int
	c     chan exit
	done  chan struct{}

	mu    sync.Mutex // guards names
	names map[int32]string
}

func newExits() (*exits, error) {
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
	x := &exits{
		epoll: os.NewFile(uintptr(fd), "epoll"),
		c:     make(chan exit),
		done:  make(chan struct{}),
		names: make(map[int32]string),
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

// room says whether another pidfd may be held.
func (x *exits) room() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.names) < x.limit-reservedFDs
}

// add has the exit of the process behind pidfd fd announced under name, once.
func (x *exits) add(fd int, name string) error {
	x.mu.Lock()
	x.names[int32(fd)] = name
	x.mu.Unlock()
	var err error
	_ = x.conn.Control(func(epfd uintptr) {
		err = unix.EpollCtl(int(epfd), unix.EPOLL_CTL_ADD, fd,
			&unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(fd)})
	})
	if err != nil {
		x.remove(fd)
	}
	return err
}

// remove forgets fd; the kernel does when it is closed.
func (x *exits) remove(fd int) {
	x.mu.Lock()
	delete(x.names, int32(fd))
	x.mu.Unlock()
}

// run announces exits until close.
func (x *exits) run() {
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
			name, ok := x.names[ev.Fd]
			x.mu.Unlock()
			if !ok {
				continue
			}
			select {
			case x.c <- exit{name, at}:
			case <-x.done:
				return
			}
		}
	}
}

// close ends run.
func (x *exits) close() {
	close(x.done)
	x.epoll.Close()
}

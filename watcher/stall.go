package watcher

import (
	"sync"
	"time"
)

// stallTime is how long a system call may take, or a few in a row, before it is logged that
// the file system does not answer. A directory of 100,000 entries is read in 0.2 s.
const stallTime = 5 * time.Second

// A stall notices that the loop waits for a file system that does not answer, such as FUSE or
// NFS whose server is gone: then only another goroutine can say so. It runs no timer while
// the loop waits for events.
type stall struct {
	limit    time.Duration
	onStall  func() // called when a wait has lasted for limit
	onAnswer func() // called when such a wait is over

	mu      sync.Mutex // guards all below
	timer   *time.Timer
	working bool
	stalled bool
}

// begin says that the loop is going to make system calls, or is making progress.
func (s *stall) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.working = true
	if s.timer == nil {
		s.timer = time.AfterFunc(s.limit, s.fire)
	} else {
		s.timer.Reset(s.limit)
	}
	s.answered()
}

// end says that the loop is going to wait for events.
func (s *stall) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.working = false
	if s.timer != nil {
		s.timer.Stop()
	}
	s.answered()
}

func (s *stall) answered() {
	if s.stalled {
		s.stalled = false
		s.onAnswer()
	}
}

func (s *stall) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.working && !s.stalled {
		s.stalled = true
		s.onStall()
	}
}

// now reports whether the loop is stalled.
func (s *stall) now() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stalled
}

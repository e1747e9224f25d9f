package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// What is over sooner needs no progress.
	progressDelay = 500 * time.Millisecond
	progressEvery = 100 * time.Millisecond

	eraseLine = "\r\x1b[K"
)

// A screen is a terminal whose last line may say how far we are. What is written to it
// comes above that line.
type screen struct {
	out io.Writer

	mu   sync.Mutex // guards line, and the order of what goes out
	line string     // empty: none is shown
}

// Write writes whole lines.
func (s *screen) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line == "" {
		return s.out.Write(text)
	}
	// In one piece, so that nothing flickers.
	whole := append([]byte(eraseLine), text...)
	if _, err := s.out.Write(append(whole, s.line...)); err != nil {
		return 0, err
	}
	return len(text), nil
}

// show makes line the last one of the screen; an empty one takes it away.
func (s *screen) show(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if line == s.line {
		return
	}
	s.line = line
	_, _ = io.WriteString(s.out, eraseLine+line) // a terminal that is gone needs no progress
}

// follow shows what say returns, in time, until stop is called. Without a screen it
// does nothing.
func (s *screen) follow(say func() string) (stop func()) {
	if s == nil {
		return func() {}
	}
	over := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		next := time.NewTimer(progressDelay)
		defer next.Stop()
		for {
			select {
			case <-over:
				s.show("")
				return
			case <-next.C:
				s.show(say())
				next.Reset(progressEvery)
			}
		}
	})
	return func() {
		close(over)
		running.Wait()
	}
}

// reading says how far a scan is. How many there are is not known before they are read.
func reading(n int) string { return fmt.Sprintf("reading the runtime root: %d dirs", n) }

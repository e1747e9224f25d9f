package main

// The end of a run: within 5 s of the signal, whatever hangs.

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// endTimeout is how long a command may go on after SIGINT or SIGTERM.
	endTimeout = 4500 * time.Millisecond

	// lastLineTimeout is how long the last line may take on stderr.
	lastLineTimeout = 400 * time.Millisecond
)

// The kernel hands a signal of the process to its first thread, even while that is in a system
// call which only SIGKILL ends, as on a mount that does not answer; then nobody would see it.
// So main keeps that thread to itself: it does nothing but wait for the command and the signal.
func init() { runtime.LockOSThread() }

// endInTime returns what command returns. If it has not returned at timeout after ctx is
// done, it is left behind, and the error says what was under way.
func endInTime(ctx context.Context, timeout time.Duration, u *underWay, command func(context.Context) error) error {
	done := make(chan error, 1)
	go func() { done <- command(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(timeout):
		return fmt.Errorf("ended %v after the signal, without waiting any longer for %s", timeout, u)
	}
}

// writeInTime writes text to out, unless that takes longer than timeout.
func writeInTime(out io.Writer, timeout time.Duration, text string) {
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = io.WriteString(out, text) // there is nowhere else to report it
	}()
	select {
	case <-written:
	case <-time.After(timeout):
	}
}

// underWay holds the names of what a command is doing.
type underWay struct {
	mu    sync.Mutex // guards names
	names []string
}

// begin adds a name, until end is called.
func (u *underWay) begin(name string) (end func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.names = append(u.names, name)
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		i := slices.Index(u.names, name)
		u.names = slices.Delete(u.names, i, i+1)
	}
}

func (u *underWay) String() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.names) == 0 {
		return "this command"
	}
	return strings.Join(u.names, ", ")
}

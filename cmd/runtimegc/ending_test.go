package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// A command that hangs is left behind after the signal, and the error says what it was doing;
// one that does not hang returns what it always does.
func TestEndInTime(t *testing.T) {
	ctx, signal := context.WithCancel(t.Context())
	var u underWay
	own := errors.New("its own")
	if err := endInTime(ctx, 0, &u, func(context.Context) error { return own }); err != own {
		t.Errorf("got %v", err)
	}
	signal()
	if err := endInTime(ctx, daemondirtest.Patience, &u, func(ctx context.Context) error { <-ctx.Done(); return own }); err != own {
		t.Errorf("after the signal: %v", err)
	}
	forever := make(chan struct{})
	defer close(forever)
	u.begin("this")
	u.begin("that")()
	u.begin("those")
	err := endInTime(ctx, time.Millisecond, &u, func(context.Context) error { <-forever; return nil })
	if err == nil || !strings.HasSuffix(err.Error(), "for this, those") {
		t.Errorf("it hangs: %v", err)
	}
}

// A terminal that stands still holds up neither the last line nor what erases the progress.
func TestTerminalThatStandsStill(t *testing.T) {
	r := &reader{goesOn: make(chan struct{})}
	began := time.Now()
	writeInTime(r, time.Millisecond, "last")
	s := &screen{out: r}
	stop := s.follow(func() string { return "half" })
	daemondirtest.Eventually(t, "progress is being shown", func() bool {
		if s.mu.TryLock() {
			s.mu.Unlock()
			return false
		}
		return true
	})
	stop()
	if took := time.Since(began); took > daemondirtest.Patience {
		t.Errorf("it took %v", took)
	}
	close(r.goesOn)
	daemondirtest.Eventually(t, "all was written", func() bool {
		text := r.log.String()
		return strings.Contains(text, "last") && strings.Contains(text, "half") && strings.Count(text, eraseLine) == 2
	})
}

package main

// Output that only a terminal gets: colours, and a last line with the progress.

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
)

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && (isatty.IsTerminal(f.Fd()) || isatty.IsCygwinTerminal(f.Fd()))
}

// wantsColor reports whether the output may have colours: if the terminal has them, and its
// user wants them (no-color.org).
func wantsColor(terminal bool) bool {
	return terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

const (
	progressDelay    = 500 * time.Millisecond // until progress is first shown
	progressInterval = 100 * time.Millisecond

	// progressTimeout is how long a terminal that stands still (Ctrl-S) may hold up what was
	// done, when its progress is erased.
	progressTimeout = time.Second

	eraseLine = "\r\x1b[K"
)

// A screen is a terminal whose last line may show progress. What is written to the
// screen appears above that line.
type screen struct {
	out io.Writer

	mu   sync.Mutex // guards line, and the order of the output
	line string     // empty: none is shown
}

// Write writes whole lines.
func (s *screen) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line == "" {
		return s.out.Write(text)
	}
	// In one write, so that nothing flickers.
	whole := append([]byte(eraseLine), text...)
	if _, err := s.out.Write(append(whole, s.line...)); err != nil {
		return 0, err
	}
	return len(text), nil
}

// show makes line the last one of the screen. An empty line removes it.
func (s *screen) show(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if line == s.line {
		return
	}
	s.line = line
	_, _ = io.WriteString(s.out, eraseLine+line) // it fails only if the terminal was closed
}

// follow keeps showing what text returns, until stop is called. On a nil screen it does
// nothing.
func (s *screen) follow(text func() string) (stop func()) {
	if s == nil {
		return func() {}
	}
	stopped, erased := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(erased)
		next := time.NewTimer(progressDelay)
		defer next.Stop()
		for {
			select {
			case <-stopped:
				s.show("")
				return
			case <-next.C:
				s.show(text())
				next.Reset(progressInterval)
			}
		}
	}()
	return func() {
		close(stopped)
		select {
		case <-erased:
		case <-time.After(progressTimeout):
		}
	}
}

// readingText is the progress of a scan, which does not know how many dirs there will be.
func readingText(n int) string { return fmt.Sprintf("reading the runtime root: %d dirs", n) }

// widthOf returns how many columns wide what goes to w may be; 0 is as wide as it likes. As
// with ps, COLUMNS takes precedence over the terminal, and counts without one, too: watch(1)
// sets it.
func widthOf(w io.Writer) int {
	if n, err := strconv.ParseUint(os.Getenv("COLUMNS"), 10, 16); err == nil && n > 0 {
		return int(n)
	}
	if f, ok := w.(*os.File); ok {
		return terminalWidth(f)
	}
	return 0
}

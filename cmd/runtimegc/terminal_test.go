package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// What is written appears above the line with the progress, in one piece.
func TestScreen(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out}
	s.Write([]byte("one\n"))
	s.show("1 of 2")
	s.Write([]byte("two\n"))
	s.show("2 of 2")
	s.show("2 of 2")
	s.show("")
	s.Write([]byte("three\n"))
	const erase = "\r\x1b[K"
	if want := "one\n" + erase + "1 of 2" + erase + "two\n1 of 2" + erase + "2 of 2" + erase + "three\n"; out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
}

// Progress is shown only if something takes long. Afterwards the line is erased, and no
// goroutine is left.
func TestFollow(t *testing.T) {
	var none *screen
	none.follow(func() string { t.Error("asked without a screen"); return "" })()

	var out bytes.Buffer
	s := &screen{out: &out}
	s.follow(func() string { return "too soon" })()
	if strings.Contains(out.String(), "soon") {
		t.Errorf("shown at once: %q", out.String())
	}
	said := make(chan struct{})
	once := sync.OnceFunc(func() { close(said) })
	stop := s.follow(func() string { once(); return "half" })
	select {
	case <-said:
	case <-time.After(time.Minute):
		t.Fatal("never shown")
	}
	stop()
	if got := out.String(); !strings.HasSuffix(got, "half"+eraseLine) {
		t.Errorf("left on the screen: %q", got)
	}
}

// The first scan of a watch shows its progress until all roots are ready.
func TestWatchShowsProgress(t *testing.T) {
	var out daemondirtest.Log
	o := &watchOptions{options: newOptions()}
	o.screen = &screen{out: &out}
	first, second := make(chan struct{}), make(chan struct{})
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		o.showProgress(t.Context(), func() int { return 2 }, []<-chan struct{}{first, second})
	}()
	close(second)
	daemondirtest.Eventually(t, "progress is shown", func() bool {
		return strings.Contains(out.String(), "reading the runtime root: 2 dirs")
	})
	close(first)
	<-shown
	if got := out.String(); !strings.HasSuffix(got, "2 dirs"+eraseLine) {
		t.Errorf("left on the screen: %q", got)
	}
}

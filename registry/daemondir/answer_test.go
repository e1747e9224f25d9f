package daemondir

import (
	"testing"
	"time"
)

func TestWithin(t *testing.T) {
	const key = "TestWithin"
	if got, ok := Within(time.Minute, key, func() int { return 1 }); got != 1 || !ok {
		t.Errorf("got %d, %v", got, ok)
	}
	release, returned := make(chan struct{}), make(chan struct{})
	hang := func() int {
		defer close(returned)
		<-release
		return 2
	}
	if _, ok := Within(10*time.Millisecond, key, hang); ok {
		t.Error("it has answered")
	}
	began := time.Now()
	if _, ok := Within(time.Minute, key, func() int { t.Error("called while the last call hangs"); return 3 }); ok {
		t.Error("it has answered")
	}
	if _, ok := Within(time.Minute, "other", func() int { return 4 }); !ok || time.Since(began) > 30*time.Second {
		t.Error("another key waits for it")
	}
	close(release)
	<-returned
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if got, ok := Within(time.Minute, key, func() int { return 5 }); ok {
			if got != 5 {
				t.Errorf("got %d", got)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("it is held to hang for ever")
		}
	}
}

//go:build !portable

package proc

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/shirou/gopsutil/v3/process"
)

// numCallbacks returns how many functions there are to be called back.
func numCallbacks() int {
	waits.mu.Lock()
	defer waits.mu.Unlock()
	return len(waits.by)
}

// To wait for 200 processes takes no thread each.
func TestFewThreadsWait(t *testing.T) {
	threads := func() int {
		n, err := (&process.Process{Pid: int32(os.Getpid())}).NumThreads()
		if err != nil {
			t.Fatal(err)
		}
		return int(n)
	}
	x := runExits(t)
	cmd, _ := startSleeper(t)
	before := threads()
	for range 200 {
		h := openHandle(uint32(cmd.Process.Pid))
		defer h.Close()
		if !x.Add(h, "d") {
			t.Fatal("no room")
		}
		defer x.Remove(h)
	}
	// One for 63 of them; Go's runtime may start some.
	more := threads() - before
	t.Logf("%d threads more", more)
	if more > 16 {
		t.Errorf("%d threads more", more)
	}
}

// What is removed is forgotten, by the system as well, while those beside it are waited for.
func TestRemovedExitsAreForgotten(t *testing.T) {
	x := runExits(t)
	before := numCallbacks()
	cmd, kept := startSleeper(t)
	live, _ := startSleeper(t)
	if !x.Add(kept, "kept") {
		t.Fatal("no room")
	}
	for range 200 {
		h := openHandle(uint32(live.Process.Pid))
		if !x.Add(h, "removed") {
			t.Fatal("no room")
		}
		x.Remove(h)
		h.Close()
	}
	if now := numCallbacks(); now != before+1 {
		t.Errorf("%d functions to be called back, want %d", now, before+1)
	}
	kill(live)
	none(t, x)
	since := time.Now()
	kill(cmd)
	if got, took := next(t, x, since); got != "kept" || took > time.Second {
		t.Errorf("the exit of %q is announced after %v", got, took)
	}
	x.Remove(kept)
	if now := numCallbacks(); now != before {
		t.Errorf("%d functions to be called back, want %d", now, before)
	}
}

// A handle that is removed just when its process exits is not among those that have exited
// after that: the system gives its number to the next one that is opened.
func TestRemoveBesideExit(t *testing.T) {
	for range 10 {
		w, err := newWaiter()
		if err != nil {
			t.Fatal(err)
		}
		cmd, _ := startSleeper(t)
		var handles []Handle
		for range 100 {
			h := openHandle(uint32(cmd.Process.Pid))
			t.Cleanup(h.Close)
			if !w.add(h) {
				t.Fatal("no room")
			}
			handles = append(handles, h)
		}
		go func() { _ = cmd.Process.Kill() }()
		<-w.ready // the first one
		removed := make(chan struct{})
		go func() {
			defer close(removed)
			for _, h := range handles {
				w.remove(h)
			}
		}()
		select {
		case <-removed:
		case <-time.After(20 * time.Second):
			t.Fatal("a removal waits for a callback, and that for the removal")
		}
		w.mu.Lock()
		stale := len(w.exited)
		w.mu.Unlock()
		if stale > 0 {
			t.Fatalf("%d of 100 that were removed have exited", stale)
		}
		w.close()
	}
}

// What has exited while nobody waits is not lost.
func TestExitBeforeWait(t *testing.T) {
	w, err := newWaiter()
	if err != nil {
		t.Fatal(err)
	}
	cmd, h := startSleeper(t)
	if !w.add(h) {
		t.Fatal("no room")
	}
	defer w.remove(h)
	kill(cmd)
	for began := time.Now(); ; runtime.Gosched() {
		w.mu.Lock()
		noted := len(w.exited) == 1
		w.mu.Unlock()
		if noted {
			break
		}
		if time.Since(began) > 20*time.Second {
			t.Fatal("it is not noted")
		}
	}
	time.AfterFunc(20*time.Second, w.close) // else it would wait for ever
	if exited, ok := w.wait(); !ok || len(exited) != 1 || exited[0] != h {
		t.Errorf("%v, %v, want %d", exited, ok, h)
	}
}

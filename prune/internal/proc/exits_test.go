package proc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// sleeperVar makes the test binary sleep until it is killed.
const sleeperVar = "GCTEST_SLEEPER"

// startSleeper starts a process that runs until it is killed, or the test ends. It returns a
// handle on it, too.
func startSleeper(t *testing.T) (*exec.Cmd, Handle) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run", "^TestExitIsAnnounced$")
	cmd.Env = append(os.Environ(), sleeperVar+"=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(cmd) })
	f, h := inspect(uint32(cmd.Process.Pid), Query{})
	t.Cleanup(h.Close)
	if h == NoHandle || !f.Exists || !f.Start.Known {
		t.Fatalf("handle %d, %+v", h, f)
	}
	return cmd, h
}

func kill(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// runExits returns an Exits that runs until the test ends.
func runExits(t *testing.T) *Exits {
	t.Helper()
	x, err := NewExits()
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("exits are not announced on this system")
	}
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { x.Run(); close(done) }()
	t.Cleanup(func() {
		x.Close()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Error("run does not end")
		}
	})
	return x
}

// next returns the next exit that is announced, and how long that took from since.
func next(t *testing.T, x *Exits, since time.Time) (string, time.Duration) {
	t.Helper()
	select {
	case got := <-x.Announced():
		if got.At.Before(since) {
			t.Errorf("the exit of %q was announced before it was caused", got.Name)
		}
		return got.Name, got.At.Sub(since)
	case <-time.After(20 * time.Second):
		t.Fatal("no exit is announced")
		return "", 0
	}
}

func none(t *testing.T, x *Exits) {
	t.Helper()
	select {
	case got := <-x.Announced():
		t.Errorf("%q has exited", got.Name)
	case <-time.After(200 * time.Millisecond):
	}
}

// Each exit is announced once, within a second, by the name of its own.
func TestExitIsAnnounced(t *testing.T) {
	if os.Getenv(sleeperVar) != "" {
		time.Sleep(time.Hour)
	}
	x := runExits(t)
	cmds := make(map[string]*exec.Cmd)
	handles := make(map[string]Handle)
	for _, name := range []string{"a", "b", "c"} {
		cmd, h := startSleeper(t)
		if exited, _ := h.Exited(); exited {
			t.Errorf("%s has exited by its handle's word", name)
		}
		if !x.Add(h, name) {
			t.Fatal("no room")
		}
		cmds[name], handles[name] = cmd, h
	}
	none(t, x)
	for name, cmd := range cmds {
		since := time.Now()
		_ = cmd.Process.Kill()
		got, took := next(t, x, since)
		if got != name || took > time.Second {
			t.Errorf("the exit of %q is announced after %v, want %q within a second", got, took, name)
		}
		t.Logf("announced after %v", took)
		if exited, _ := handles[name].Exited(); !exited {
			t.Errorf("%s lives by its handle's word", name)
		}
		x.Remove(handles[name])
	}
	none(t, x)
}

// The exit of a process is announced even if it comes before the process was added, and not
// after that was removed.
func TestExitAtTheEdges(t *testing.T) {
	x := runExits(t)
	cmd, h := startSleeper(t)
	kill(cmd)
	since := time.Now()
	if !x.Add(h, "early") {
		t.Fatal("no room")
	}
	if got, _ := next(t, x, since); got != "early" {
		t.Errorf("announced %q", got)
	}
	x.Remove(h)

	cmd, h = startSleeper(t)
	if !x.Add(h, "removed") {
		t.Fatal("no room")
	}
	x.Remove(h)
	x.Remove(h) // once more is nothing
	kill(cmd)
	none(t, x)
}

// Two dirs may name the same process: both are told.
func TestExitOfOneProcessTwice(t *testing.T) {
	x := runExits(t)
	cmd, h := startSleeper(t)
	_, other := inspect(uint32(cmd.Process.Pid), Query{})
	t.Cleanup(other.Close)
	if !x.Add(h, "a") || !x.Add(other, "b") {
		t.Fatal("no room")
	}
	since := time.Now()
	kill(cmd)
	first, _ := next(t, x, since)
	second, _ := next(t, x, since)
	if first+second != "ab" && first+second != "ba" {
		t.Errorf("announced %q and %q", first, second)
	}
	x.Remove(h)
	x.Remove(other)
}

// A handle keeps to its process: once that has exited, there is none of its pid.
func TestInspectAfterExit(t *testing.T) {
	if _, err := NewExits(); errors.Is(err, errors.ErrUnsupported) {
		t.Skip("there are no handles on this system")
	}
	cmd, h := startSleeper(t)
	kill(cmd)
	daemondirtest.Eventually(t, "it has exited", func() bool {
		exited, zombie := h.Exited()
		return exited && !zombie
	})
	f, again := inspect(uint32(cmd.Process.Pid), Query{})
	defer again.Close()
	if f.Exists || f.Err != nil || f.Start.Known {
		t.Errorf("%+v, though pid %d has exited", f, cmd.Process.Pid)
	}
}

// Many exits at once are all announced, each once, and no goroutine waits for one of them.
func TestManyExits(t *testing.T) {
	x := runExits(t)
	const processes, each = 5, 40 // more than Windows lets one thread wait for
	goroutines := runtime.NumGoroutine()
	want := make(map[string]Handle)
	var cmds []*exec.Cmd
	for i := range processes {
		cmd, _ := startSleeper(t)
		cmds = append(cmds, cmd)
		for j := range each {
			name := fmt.Sprintf("d%02d-%02d", i, j)
			_, h := inspect(uint32(cmd.Process.Pid), Query{})
			t.Cleanup(h.Close)
			if !x.Add(h, name) {
				t.Fatalf("no room for %s", name)
			}
			want[name] = h
		}
	}
	if now := runtime.NumGoroutine(); now >= goroutines+each { // one or two may be somebody else's
		t.Errorf("%d goroutines, %d before", now, goroutines)
	}
	since := time.Now()
	go func() {
		for _, cmd := range cmds {
			_ = cmd.Process.Kill()
		}
	}()
	var longest time.Duration
	for len(want) > 0 {
		name, took := next(t, x, since)
		h, ok := want[name]
		if !ok {
			t.Fatalf("the exit of %q is announced again", name)
		}
		x.Remove(h)
		delete(want, name)
		longest = max(longest, took)
	}
	t.Logf("%d exits announced within %v", processes*each, longest)
	none(t, x)
}

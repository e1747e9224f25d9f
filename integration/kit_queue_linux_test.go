package integration

// The kernel's queue of events, and a watch that does not empty it.

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// queueLength returns how many events an inotify queue holds.
func queueLength(t testing.TB) int {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Skipf("no length of the queue to be had: %v", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || n > 50_000 {
		t.Skipf("a queue of %s events would take too long to fill", text)
	}
	return n
}

// flood fills the queue of who watches root with events of no meaning, so that none
// of those that follow is told.
func flood(t testing.TB, root string) {
	t.Helper()
	noise, other := filepath.Join(root, "noise"), filepath.Join(root, "other-noise")
	noError(t, os.WriteFile(noise, nil, 0o644))
	for range queueLength(t)/2 + 100 { // two events each, never merged
		noError(t, os.Rename(noise, other))
		noise, other = other, noise
	}
	noError(t, os.Remove(noise))
}

// pause stops w, calls meanwhile, and returns when w went on.
func pause(t *testing.T, w *watchProcess, meanwhile func()) time.Time {
	t.Helper()
	pid := w.cmd.Process.Pid
	noError(t, syscall.Kill(pid, syscall.SIGSTOP))
	daemondirtest.Eventually(t, "the watch is stopped", func() bool { return strings.HasPrefix(procStatus(t, pid, "State"), "T") })
	meanwhile()
	on := time.Now()
	noError(t, syscall.Kill(pid, syscall.SIGCONT))
	return on
}

// procStatus returns one value of /proc/<pid>/status.
func procStatus(t testing.TB, pid int, key string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no %s in the status of %d", key, pid)
	return ""
}

package watcher

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// A queue holds so many events (fs.inotify.max_queued_events) and all beyond are lost.
// Here the watcher is stopped while more dirs appear than that, and its own dirs go.
func TestOverflowForReal(t *testing.T) {
	if !inChild(t, 0) {
		return
	}
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Skipf("no length of the queue to be had: %v", err)
	}
	queue, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || queue > 50_000 {
		t.Skipf("a queue of %s events would take too long to fill", text)
	}
	flood := max(queue+3000, 20_000)

	root, err := os.MkdirTemp("/dev/shm", "runtime") // in memory: 20,000 dirs can take a disk a minute
	if err != nil {
		root = newRoot(t)
	}
	defer os.RemoveAll(root)
	spawn(t, root, "gone", 1)
	spawn(t, root, "remade", 1)
	w := start(t, setup{Root: root})
	w.waitPID("gone", 1)
	w.waitPID("remade", 1)
	w.checkWatched()

	flooder := exec.Command("sh", "-e", "-c", `
		kill -STOP "$1"
		trap 'kill -CONT "$1"' EXIT
		cd "$2"
		seq -f daemon%.0f "$3" | xargs mkdir
		rm -r gone remade
		mkdir remade`,
		"sh", strconv.Itoa(os.Getpid()), root, strconv.Itoa(flood))
	if out, err := flooder.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	w.waitFor("registry.resynced", 1)
	w.waitEqual()
	if w.count("events.overflow") == 0 {
		t.Error("the overflow is not said")
	}
	if got, want := w.registry.Len(), flood+1; got != want {
		t.Errorf("%d daemons are known of %d", got, want)
	}
	last := "daemon" + strconv.Itoa(flood)
	spawn(t, root, "remade", 4711)
	spawn(t, root, last, 4712)
	w.waitPID("remade", 4711)
	w.waitPID(last, 4712)
	w.stop()
}

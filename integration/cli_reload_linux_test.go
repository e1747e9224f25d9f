package integration

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What the command line says is not the file's to change, and a file that is wrong or
// goes changes what it says, not more.
func TestReload(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	config := newDaemonTOML(t)
	config.set(3600, 7200)
	d := s.dead("dead", 90*time.Minute)
	w := startWatch(t, root, "--config", config.path, "--sweep-interval", "50ms")
	if e := w.all("watch.started", "")[0]; e.number("stale_after_ms") != 7_200_000 || e.number("sweep_interval_ms") != 50 {
		t.Errorf("want 7200 s of the file and 50 ms of the command line: %s", e.line)
	}
	w.sweeps(2)
	config.set(10, 7200)
	if e := w.hangup("config.reloaded"); e.has("sweep_interval_ms") || e.has("stale_after_ms") {
		t.Errorf("what the command line says has changed: %s", e.line)
	}
	for _, text := range []string{"runtime_gc_stale_after_secs = 0", "runtime_gc_stale_after_secs = 1\n= " + secret, "\x00"} {
		config.write(text)
		if e := w.hangup("config.invalid"); !strings.Contains(e.fields["error"].(string), "line ") || !strings.Contains(e.fields["error"].(string), config.path) {
			t.Errorf("want file and line: %s", e.line)
		}
	}
	noError(t, os.Remove(config.path))
	w.hangup("config.invalid") // it was asked for
	w.sweeps(2)
	if _, err := os.Stat(d.dir); err != nil {
		t.Fatalf("removed by a configuration that is wrong: %v", err)
	}
	config.set(10, 3600)
	if e := w.hangup("config.reloaded"); e.number("stale_after_ms") != 3_600_000 || e.number("previous_stale_after_ms") != 7_200_000 {
		t.Errorf("want 3600 s, 7200 s before: %s", e.line)
	}
	w.next("daemon.removed", "dead")
	config.write("")
	if e := w.hangup("config.reloaded"); e.number("stale_after_ms") != 6*3_600_000 || e.number("previous_stale_after_ms") != 3_600_000 {
		t.Errorf("want the default, 6 h, 3600 s before: %s", e.line)
	}
	// Its patterns come and go, too.
	s.dead("keep", 7*time.Hour)
	w.next("daemon.removed", "keep")
	config.write("runtime_gc_protect = [\"k*\"]")
	if e := w.hangup("config.reloaded"); e.fields["protect"] != "k*" || e.fields["previous_protect"] != "" {
		t.Errorf("want k*, nothing before: %s", e.line)
	}
	s.dead("keep", 7*time.Hour)
	if e := w.next("daemon.kept", "keep"); e.reason != "protected" {
		t.Errorf("want protected: %s", e.line)
	}
	config.write("")
	w.hangup("config.reloaded")
	w.next("daemon.removed", "keep")
	w.stop(syscall.SIGTERM)
}

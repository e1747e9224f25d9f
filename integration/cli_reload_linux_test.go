package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
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
	started := w.all("watch.started", "")[0]
	if started.number("stale_after_ms") != 7_200_000 || started.number("sweep_interval_ms") != 50 {
		t.Errorf("want 7200 s of the file and 50 ms of the command line: %s", started.line)
	}
	// It has all that config prints.
	var settings any
	o := run(t, "config", "--json", "--root", root, "--config", config.path, "--sweep-interval", "50ms", "--log-format", "json", "--log-level", "debug")
	noError(t, json.Unmarshal([]byte(o.must(t).stdout), &settings))
	if !reflect.DeepEqual(started.fields["settings"], settings) {
		t.Errorf("the settings in the log are not those of config: %s\n%s", started.line, o.stdout)
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
	for w.next("daemon.kept", "keep").reason != "protected" { // but because it is still being made
	}
	config.write("")
	w.hangup("config.reloaded")
	w.next("daemon.removed", "keep")
	w.never("config.unknown", "")
	// What does nothing is named.
	config.write("runtime_gc_protects = [\"" + secret + "\"]")
	if e := w.hangup("config.unknown"); e.fields["key"] != "runtime_gc_protects" || e.fields["hint"] != "did you mean runtime_gc_protect?" {
		t.Errorf("want the key and the right one: %s", e.line)
	}
	w.stop(syscall.SIGTERM)
}

// What the file says is for all roots: times and patterns alike.
func TestReloadOfSeveralRoots(t *testing.T) {
	t.Parallel()
	roots := []string{runtimeRoot(t), runtimeRoot(t), runtimeRoot(t)}
	config := newDaemonTOML(t)
	config.write("runtime_gc_stale_after_secs = 7200\nruntime_gc_protect = [\"keep-*\"]")
	args := []string{"--config", config.path, "--sweep-interval", "50ms"}
	var dirs []*daemon
	for i, root := range roots {
		s := newSpawner(t, root)
		dirs = append(dirs, s.dead(fmt.Sprint("due-", i), 90*time.Minute), s.dead(fmt.Sprint("keep-", i), stale))
		if i > 0 {
			args = append(args, "--root", root)
		}
	}
	w := startWatch(t, roots[0], args...)
	for i := range roots {
		w.next("daemon.kept", fmt.Sprint("keep-", i))
	}
	w.sweeps(2 * len(roots))
	for _, d := range dirs {
		if _, err := os.Stat(d.dir); err != nil {
			t.Fatalf("removed before the file says so: %v", err)
		}
	}
	config.write("runtime_gc_stale_after_secs = 3600")
	if e := w.hangup("config.reloaded"); e.number("stale_after_ms") != 3_600_000 || e.fields["previous_protect"] != "keep-*" {
		t.Errorf("want 3600 s, and keep-* before: %s", e.line)
	}
	for i, root := range roots {
		for _, name := range []string{fmt.Sprint("due-", i), fmt.Sprint("keep-", i)} {
			if e := w.next("daemon.removed", name); e.fields["root"] != root {
				t.Errorf("want root %s: %s", root, e.line)
			}
		}
	}
	w.stop(syscall.SIGTERM)
}

// A variable that sets nothing is named at the start, once.
func TestWatchNamesUnknownVariables(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	w := startWatchBy(t, []string{"env", "RUNTIMEGC_SHARE_ROOT=" + secret}, &syscall.SysProcAttr{}, root, "--sweep-interval", "50ms")
	w.sweeps(2)
	w.stop(syscall.SIGTERM)
	all := w.all("config.unknown", "")
	if len(all) != 1 || all[0].fields["variable"] != "RUNTIMEGC_SHARE_ROOT" || all[0].fields["hint"] != "did you mean RUNTIMEGC_SHARED_ROOT?" {
		t.Errorf("want one line with the variable and the right one: %v", all)
	}
}

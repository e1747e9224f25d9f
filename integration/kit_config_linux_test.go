package integration

// Configuration of a running watch, and several roots at once.

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// daemonTOML is a daemon manager's configuration as it may be found.
type daemonTOML struct {
	t    *testing.T
	path string
}

func newDaemonTOML(t *testing.T) daemonTOML {
	return daemonTOML{t, filepath.Join(t.TempDir(), "daemon.toml")}
}

func (d daemonTOML) write(text string) {
	d.t.Helper()
	if err := os.WriteFile(d.path, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// set writes our keys among others.
func (d daemonTOML) set(intervalSecs, staleAfterSecs int) {
	d.t.Helper()
	d.write(fmt.Sprintf("token = %q\nruntime_gc_interval_secs = %d\nruntime_gc_stale_after_secs = %d\n\n[dev]\nidle_timeout_secs = 120\n",
		secret, intervalSecs, staleAfterSecs))
}

// hangup sends a SIGHUP and waits for what the watch says of its configuration.
func (w *watchProcess) hangup(kind string) event {
	w.t.Helper()
	if err := w.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		w.t.Fatal(err)
	}
	return w.next(kind, "")
}

// While spawns, respawns, kills, zombies and cleanups go on, the times are changed again
// and again, and wrongly at times. Each change that is right takes effect, and none
// costs a daemon anything.
func TestReloadDuringStorm(t *testing.T) {
	t.Parallel()
	workers, names, steps := 4, 8, 100
	if os.Getenv("RUNTIMEGC_LONG") != "" {
		names, steps = 20, 3000
	}
	root := runtimeRoot(t)
	config := newDaemonTOML(t)
	config.set(3600, 3600)
	st := &storm{spawner: newSpawner(t, root), living: make(map[string]*daemon), killed: make(map[int]time.Time)}
	w := startWatch(t, root, "--config", config.path)
	w.next("root.found", "")

	var running sync.WaitGroup
	for worker := range workers {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(20240608, uint64(worker)))
			for range steps {
				st.step(rng, fmt.Sprintf("w%d-%d", worker, rng.IntN(names)))
			}
		})
	}
	over := make(chan struct{})
	go func() {
		running.Wait()
		close(over)
	}()

	eventually(t, "some daemons are dead", func() bool { return len(w.all("daemon.exited", "")) > 10 })
	config.set(1, 1)
	first := w.hangup("config.reloaded")
	for key, want := range map[string]int64{
		"previous_sweep_interval_ms": 3_600_000, "sweep_interval_ms": 1000, "previous_stale_after_ms": 3_600_000, "stale_after_ms": 1000,
	} {
		if first.number(key) != want {
			t.Errorf("want %s %d: %s", key, want, first.line)
		}
	}
	for n, raging := 0, true; raging || n < 4; n++ {
		switch n % 4 {
		case 0:
			config.set(1, 2)
			if e := w.hangup("config.reloaded"); e.number("stale_after_ms") != 2000 || e.has("sweep_interval_ms") {
				t.Errorf("want only stale_after_ms, 2000: %s", e.line)
			}
		case 1:
			config.write("runtime_gc_stale_after_secs = \"" + secret + "\"")
			w.hangup("config.invalid")
		case 2:
			config.set(1, 2)
			if e := w.hangup("config.reloaded"); e.has("stale_after_ms") {
				t.Errorf("nothing has changed: %s", e.line)
			}
		case 3:
			config.set(1, 1)
			w.hangup("config.reloaded")
		}
		select {
		case <-over:
			raging = false
		case <-time.After(50 * time.Millisecond):
		}
	}
	config.set(1, 1)
	w.hangup("config.reloaded")

	st.mustBecomeTrue(t, root)
	st.mustBeTold(t, w)
	w.stop(syscall.SIGTERM)
	st.mustBeUnharmed(t, w)
	removals := w.all("daemon.removed", "")
	for _, e := range removals {
		if e.time.Before(first.time) {
			t.Errorf("removed before stale-after was changed from an hour: %s", e.line)
		}
	}
	if len(removals) == 0 {
		t.Error("the change had no effect: nothing was removed")
	}
	t.Logf("%d spawns, %d living at the end, %d removals, %d reloads", len(st.killed)+len(st.living), len(st.living),
		len(removals), len(w.all("config.reloaded", "")))
}

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
	if err := os.Remove(config.path); err != nil {
		t.Fatal(err)
	}
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
	w.stop(syscall.SIGTERM)
}

// Several roots are served like one each: in the log, by prune and by list.
func TestSeveralRoots(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b, later := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "later")
	for _, root := range []string{a, b} {
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	roots := map[string]string{"x": a, "y": b, "z": later}
	w := startWatch(t, a, "--root", b, "--root", later, "--stale-after", "1s", "--sweep-interval", "100ms")
	rootOf := func(e event) string { s, _ := e.fields["root"].(string); return s }
	for name, root := range roots {
		if err := os.MkdirAll(root, 0o755); err != nil {
			t.Fatal(err)
		}
		d := newSpawner(t, root).spawn(name)
		for _, kind := range []string{"daemon.added", "daemon.live"} {
			if e := w.next(kind, name); rootOf(e) != root {
				t.Errorf("want root %s: %s", root, e.line)
			}
		}
		if name == "y" {
			continue
		}
		d.kill()
		if e := w.next("daemon.removed", name); rootOf(e) != root {
			t.Errorf("want root %s: %s", root, e.line)
		}
	}
	// Each has its lock.
	for _, root := range roots {
		if o := run(t, "prune", "--root", root); o.code != 1 || !strings.Contains(o.stderr, root) {
			t.Errorf("prune beside the watch: exit code %d; %s", o.code, o.stderr)
		}
	}
	w.stop(syscall.SIGTERM)
	for _, e := range w.all("", "") {
		if rootOf(e) == "" {
			t.Errorf("it does not say which root: %s", e.line)
		}
	}
	for _, kind := range []string{"watch.started", "watch.stopped"} {
		if n := len(w.all(kind, "")); n != 3 {
			t.Errorf("%s for %d roots, want 3", kind, n)
		}
	}

	// The same name in two roots.
	for _, root := range []string{a, b} {
		newSpawner(t, root).dead("same", stale)
	}
	args := []string{"--root", a, "--root", b, "--root", filepath.Join(dir, "none")}
	var rows []map[string]any
	if err := json.Unmarshal([]byte(run(t, append([]string{"list", "--json"}, args...)...).must(t).stdout), &rows); err != nil {
		t.Fatal(err)
	}
	dirs := make(map[string]bool)
	for _, row := range rows {
		dirs[row["dir"].(string)] = true
	}
	if len(rows) != 3 || !dirs[a+"/same"] || !dirs[b+"/same"] || !dirs[b+"/y"] {
		t.Errorf("list has %v", rows)
	}
	if table := run(t, append([]string{"list"}, args...)...).must(t).stdout; !strings.Contains(table, a+":\n") || !strings.Contains(table, b+":\n") {
		t.Errorf("a table without its root:\n%s", table)
	}
	if o := run(t, append([]string{"prune", "--dry-run"}, args...)...).must(t); !strings.Contains(o.stdout, a+"/same") || !strings.Contains(o.stdout, b+"/same") {
		t.Errorf("prune does not tell the roots apart:\n%s", o.stdout)
	}
	var sum map[string]any
	if err := json.Unmarshal([]byte(run(t, append([]string{"prune", "--json"}, args...)...).must(t).stdout), &sum); err != nil {
		t.Fatal(err)
	}
	if sum["scanned_dirs"] != 3.0 || sum["removed_dirs"] != 2.0 || sum["refreshed_sidecars"] != 1.0 || len(sum["daemons"].([]any)) != 3 {
		t.Errorf("prune sums up to %v", sum)
	}
}

// A root that somebody else has ends a watch of several, with its name; the others end
// in order. And prune touches none if it cannot have all.
func TestOneOfSeveralRootsIsLocked(t *testing.T) {
	t.Parallel()
	a, b := runtimeRoot(t), runtimeRoot(t)
	holder := startWatch(t, b)
	holder.next("root.found", "")
	due := newSpawner(t, a).dead("due", stale)
	if o := run(t, "prune", "--root", a, "--root", b); o.code != 1 || !strings.Contains(o.stderr, b) {
		t.Errorf("prune: exit code %d; %s", o.code, o.stderr)
	}
	if _, err := os.Stat(due.dir); err != nil {
		t.Errorf("prune: %v", err)
	}
	o := run(t, "watch", "--root", a, "--root", b, "--log-format", "json", "--dry-run=false")
	last := strings.TrimSpace(o.stderr)
	last = last[strings.LastIndex(last, "\n")+1:]
	if o.code != 1 || !strings.HasPrefix(last, "runtimegc: ") || !strings.Contains(last, b) || strings.Contains(last, a) {
		t.Errorf("watch: exit code %d, want 1 and a last line that names %s: %s", o.code, b, o.stderr)
	}
	if n := strings.Count(o.stderr, `"watch.stopped"`); n != 2 {
		t.Errorf("%d roots were stopped in order, want 2: %s", n, o.stderr)
	}
	holder.stop(syscall.SIGTERM)
}

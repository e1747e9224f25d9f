package integration

// A daemon's life on any system: what every build of the program must do, Windows' and that
// with the tag portable among them.

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// soon is within what a birth or an exit must be logged; a sweep may be needed for the exit.
const soon = 5 * time.Second

// anyWatch is a running `runtimegc watch`, on any system.
type anyWatch struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  daemondirtest.Log
	done chan error // what Wait returned
}

// besideOthers is t.Parallel, but on Windows: under Wine, the programs of one test are slow enough.
func besideOthers(t *testing.T) {
	if runtime.GOOS != "windows" {
		t.Parallel()
	}
}

// watchAnywhere starts a watch on root, with a sweep every 100 ms, and with those variables in
// its environment.
func watchAnywhere(t *testing.T, root, staleAfter string, environment ...string) *anyWatch {
	t.Helper()
	w := &anyWatch{t: t, done: make(chan error, 1)}
	w.cmd = exec.Command(binary(t), "watch", "--root", root, "--stale-after", staleAfter,
		"--sweep-interval", "100ms", "--log-format", "json", "--log-level", "debug")
	w.cmd.Stderr, w.cmd.Env = &w.log, append(os.Environ(), environment...)
	interruptible(w.cmd)
	noError(t, w.cmd.Start())
	go func() { w.done <- w.cmd.Wait() }()
	t.Cleanup(func() {
		_ = w.cmd.Process.Kill()
		select {
		case <-w.done:
		case <-time.After(patience):
			t.Error("the watch outlived its kill")
		}
		checkSecrets(t, "the log", w.log.String())
		if t.Failed() {
			t.Logf("the log of the watch:\n%s", w.log.String()[max(0, len(w.log.String())-6000):])
		}
	})
	w.wait(patience, 1, "sweep.done", "")
	return w
}

// of returns the events of that kind for that daemon (any, if empty).
func (w *anyWatch) of(kind, daemon string) []map[string]any {
	return slices.DeleteFunc(w.log.Events(kind), func(fields map[string]any) bool {
		return daemon != "" && fields["daemon"] != daemon
	})
}

// wait waits until there are n events of that kind for that daemon, and returns the last of them.
func (w *anyWatch) wait(within time.Duration, n int, kind, daemon string) map[string]any {
	w.t.Helper()
	for began := time.Now(); time.Since(began) < within; time.Sleep(5 * time.Millisecond) {
		if found := w.of(kind, daemon); len(found) >= n {
			return found[n-1]
		}
	}
	w.t.Fatalf("%d %s of %q, not %d, within %v", len(w.of(kind, daemon)), kind, daemon, n, within)
	return nil
}

// sweeps waits until n more sweeps are over.
func (w *anyWatch) sweeps(n int) {
	w.t.Helper()
	w.wait(patience, len(w.of("sweep.done", ""))+n, "sweep.done", "")
}

// stop ends the watch as a user does.
func (w *anyWatch) stop() {
	w.t.Helper()
	interrupt(w.t, w.cmd)
	select {
	case err := <-w.done:
		w.done <- err
		if err != nil || len(w.of("watch.stopped", "")) != 1 {
			w.t.Errorf("ended with %v", err)
		}
	case <-time.After(patience):
		w.t.Fatal("the watch does not end")
	}
}

// runAnywhere runs the program to its end.
func runAnywhere(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return runIn(t, nil, args...)
}

// runIn is runAnywhere with those variables in the environment.
func runIn(t *testing.T, environment []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(binary(t), args...)
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &errs, append(os.Environ(), environment...)
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	checkSecrets(t, strings.Join(args, " "), out.String()+errs.String())
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// readShared reads a file that the program replaces meanwhile: on Windows that may refuse it.
func readShared(t *testing.T, path string) (text string) {
	t.Helper()
	daemondirtest.Eventually(t, "the sidecar to be read", func() bool {
		read, err := os.ReadFile(path)
		text = string(read)
		return err == nil && text != ""
	})
	return text
}

// hasAll fails the test unless the daemon dir holds what its spawner made, and nothing else.
func hasAll(t *testing.T, d daemondirtest.Dir) {
	t.Helper()
	want := []string{filepath.Base(d.Program()), filepath.Base(d.Sidecar()), filepath.Base(d.PIDFile())}
	slices.Sort(want)
	daemondirtest.EventuallyNone(t, func() string { // a refresh may be under way
		files, err := os.ReadDir(d.Path())
		var names []string
		for _, file := range files {
			names = append(names, file.Name())
		}
		if slices.Sort(names); err != nil || !slices.Equal(names, want) {
			return fmt.Sprintf("%s holds %q (%v), want %q", d.Name, names, err, want)
		}
		return ""
	})
}

// A daemon is spawned, refreshed a hundred times and killed, and its dir is removed; that
// of another, which lives on, is not.
func TestLifeAnywhere(t *testing.T) {
	besideOthers(t)
	root := filepath.Join(t.TempDir(), "runtime")
	noError(t, os.Mkdir(root, 0o755))
	w := watchAnywhere(t, root, "2s")
	stays, _ := daemondirtest.MakeLive(t, root, "stays")
	dies, process := daemondirtest.MakeLive(t, root, "dies")
	for _, d := range []daemondirtest.Dir{stays, dies} {
		w.wait(soon, 1, "daemon.added", d.Name)
		w.wait(soon, 1, "daemon.live", d.Name)
	}

	seen := regexp.MustCompile(`("last_seen_unix_ms": )(\d+)`)
	before := readShared(t, dies.Sidecar())
	w.wait(patience, 100, "sidecar.refreshed", "dies")
	after := readShared(t, dies.Sidecar())
	if seen.ReplaceAllString(before, "$1") != seen.ReplaceAllString(after, "$1") || seen.FindString(before) == seen.FindString(after) {
		t.Error("100 refreshes changed something else than the number in the sidecar, or not even that")
	}
	hasAll(t, dies)

	noError(t, process.Process.Kill())
	_ = process.Wait()
	exited := w.wait(soon, 1, "daemon.exited", "dies")
	if exited["pid"] != float64(process.Process.Pid) {
		t.Errorf("pid %v has exited, not %d", exited["pid"], process.Process.Pid)
	}
	removed := w.wait(patience, 1, "daemon.removed", "dies")
	if dies.Exists() {
		t.Error("the dir is still there")
	}
	if runtime.GOOS == "windows" && !portable { // whose code of what os.Process.Kill has killed is 1
		for _, e := range []map[string]any{exited, removed} {
			if e["exit_code"] != float64(1) {
				t.Errorf("it does not say how it has ended: %v", e)
			}
		}
	}
	w.sweeps(3)
	hasAll(t, stays)
	for _, kind := range []string{"daemon.exited", "daemon.removed", "daemon.gone"} {
		if found := w.of(kind, "stays"); len(found) > 0 {
			t.Errorf("of the one that lives: %v", found)
		}
	}
	for _, kind := range []string{"sidecar.invalid", "sidecar.unwritable", "watch.degraded"} {
		if found := w.of(kind, ""); len(found) > 0 {
			t.Errorf("without a cause: %v", found)
		}
	}
	w.stop()
}

// workIn starts a process whose working directory is dir, and returns what ends it.
func workIn(t *testing.T, dir string) (end func()) {
	t.Helper()
	self := ownProgram(t)
	cmd := exec.Command(self)
	cmd.Env, cmd.Dir = append(os.Environ(), trampolineEnv+"=1"), dir
	noError(t, cmd.Start())
	end = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(end)
	return end
}

// What a process uses is kept: a live daemon's dir and a dead one's, of which a file is open,
// or in which a process works. When it is not used any more, the dir of the dead one goes.
func TestUsedDirsAreKeptAnywhere(t *testing.T) {
	besideOthers(t)
	root := filepath.Join(t.TempDir(), "runtime")
	live, _ := daemondirtest.MakeLive(t, root, "live")
	entered := daemondirtest.MakeDead(t, root, "entered", time.Hour)
	leave := workIn(t, entered.Path())
	opened, dead := []daemondirtest.Dir{live}, []daemondirtest.Dir{entered}
	if !portable { // which has no table of open files
		read := daemondirtest.MakeDead(t, root, "read", time.Hour)
		opened, dead = append(opened, read), append(dead, read)
	}
	var files []*os.File
	for _, d := range opened {
		f, err := os.Open(d.Sidecar())
		noError(t, err)
		defer f.Close()
		files = append(files, f)
	}
	texts := make(map[string]string)
	for _, d := range dead {
		texts[d.Name] = readShared(t, d.Sidecar())
	}
	w := watchAnywhere(t, root, "1s")
	w.wait(soon, 1, "daemon.live", "live")
	w.sweeps(20)
	hasAll(t, live)
	for _, d := range dead {
		if !d.Exists() || readShared(t, d.Sidecar()) != texts[d.Name] {
			t.Errorf("%s was not left alone while it was used", d.Name)
		}
		if found := w.of("daemon.kept", d.Name); len(found) != 1 || found[0]["reason"] != "in_use" {
			t.Errorf("of %s, which is kept: %v", d.Name, found)
		}
	}
	for _, f := range files {
		noError(t, f.Close())
	}
	leave()
	for _, d := range dead {
		w.wait(patience, 1, "daemon.removed", d.Name)
	}
	w.wait(patience, len(w.of("sidecar.refreshed", "live"))+3, "sidecar.refreshed", "live")
	hasAll(t, live)
	for _, kind := range []string{"sidecar.invalid", "daemon.gone", "daemon.exited"} {
		if found := w.of(kind, "live"); len(found) > 0 {
			t.Errorf("of the one that lives: %v", found)
		}
	}
}

// tellsLocks is whether the program can see who holds the lock of a root.
const tellsLocks = !portable && (runtime.GOOS == "linux" || runtime.GOOS == "windows")

// noWatch is what list says of a root that no watch serves.
func noWatch() string {
	if tellsLocks {
		return "No watch serves this root: nothing is removed until you run runtimegc watch, or runtimegc prune."
	}
	return "No watch answers for this root; whether one serves it that cannot be asked is not known here."
}

// Of a watch that could not make its socket, list says who it is, or that it does not know,
// but not that there is none. It makes nothing itself, to look for a socket.
func TestListBesideOneWithoutASocketAnywhere(t *testing.T) {
	besideOthers(t)
	root, temp := filepath.Join(t.TempDir(), "runtime"), t.TempDir()
	noError(t, os.Mkdir(root, 0o755))
	missing := filepath.Join(temp, "missing")
	w := watchAnywhere(t, root, "1h", "TMPDIR="+missing, "TMP="+missing)
	list := func() string {
		t.Helper()
		code, stdout, stderr := runIn(t, []string{"TMPDIR=" + temp, "TMP=" + temp}, "list", "--root", root)
		if code != 0 {
			t.Fatalf("list: exit code %d: %s", code, stderr)
		}
		if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
			t.Errorf("list has made %v, %v", left, err)
		}
		return stdout
	}
	want := fmt.Sprintf("Watched by pid %d since ", w.cmd.Process.Pid)
	if portable || runtime.GOOS != "linux" { // where an abstract socket needs no directory
		w.wait(patience, 1, "control.unavailable", "")
		want = noWatch()
	}
	if runtime.GOOS == "windows" {
		want = fmt.Sprintf("The root is served by pid %d (%s), which cannot be asked from here.", w.cmd.Process.Pid, filepath.Base(binary(t)))
	}
	if got := list(); !strings.Contains(got, want) {
		t.Errorf("beside the watch, want %q: %s", want, got)
	}
	// To look does not take the lock, nor does it keep another from it.
	noError(t, w.cmd.Process.Kill())
	w.done <- <-w.done
	if got := list(); !strings.Contains(got, noWatch()) {
		t.Errorf("after it was killed, want %q: %s", noWatch(), got)
	}
	if code, _, stderr := runAnywhere(t, "prune", "--root", root); code != 0 {
		t.Errorf("prune: exit code %d: %s", code, stderr)
	}
}

// A root has one collector: a second one says who holds it, where the system tells, and goes.
func TestOneCollectorAnywhere(t *testing.T) {
	besideOthers(t)
	root := filepath.Join(t.TempDir(), "runtime")
	noError(t, os.Mkdir(root, 0o755))
	w := watchAnywhere(t, root, "1h")
	holder := fmt.Sprintf("pid %d", w.cmd.Process.Pid)
	if !tellsLocks {
		holder = "is served by another collector"
	}
	for _, command := range []string{"watch", "prune"} {
		second := make(chan string, 1)
		cmd := exec.Command(binary(t), command, "--root", root, "--log-format", "json")
		go func() {
			out, err := cmd.CombinedOutput()
			second <- fmt.Sprintf("%v: %s", err, out)
		}()
		select {
		case said := <-second:
			refused := cmd.ProcessState.ExitCode() == 1 && strings.Contains(said, holder)
			// The watch makes the pass, where it can be asked to.
			asked := command == "prune" && cmd.ProcessState.ExitCode() == 0 && strings.Contains(said, "0 scanned")
			if !refused && !asked {
				t.Errorf("the second, %s, does not end with 1 and name %s: %s", command, holder, said)
			}
		case <-time.After(patience):
			t.Errorf("there are two: %s does not end", command)
			_ = cmd.Process.Kill()
			<-second
		}
	}
	noError(t, w.cmd.Process.Kill())
	w.done <- <-w.done
	if code, _, stderr := runAnywhere(t, "prune", "--root", root); code != 0 {
		t.Errorf("after the kill of the first: exit code %d: %s", code, stderr)
	}
}

// What only looks, looks, and a wrong daemon.toml stops every command.
func TestLookAnywhere(t *testing.T) {
	besideOthers(t)
	root := filepath.Join(t.TempDir(), "runtime")
	due := daemondirtest.MakeDead(t, root, "due", time.Hour)
	live, _ := daemondirtest.MakeLive(t, root, "live")
	before := snapshot(t, root)
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"list"}, `(?m)^due +dead .*\bnow\b[^\n]*\n(.*\n)*live +alive `},
		{[]string{"list", "live"}, `alive`},
		{[]string{"prune", "--dry-run"}, `due`},
	} {
		code, stdout, stderr := runAnywhere(t, append(row.args, "--root", root, "--stale-after", "1m")...)
		if code != 0 || !regexp.MustCompile(row.want).MatchString(stdout) {
			t.Errorf("%q: exit code %d, want %s in %s%s", row.args, code, row.want, stdout, stderr)
		}
	}
	config := filepath.Join(t.TempDir(), "daemon.toml")
	noError(t, os.WriteFile(config, []byte("runtime_gc_interval_secs = \"often\"\n"), 0o644))
	for _, command := range []string{"watch", "prune", "list"} {
		code, _, stderr := runAnywhere(t, command, "--root", root, "--config", config)
		if code != 1 || !strings.Contains(stderr, "line 1: key runtime_gc_interval_secs") {
			t.Errorf("%s with a wrong daemon.toml: exit code %d: %s", command, code, stderr)
		}
	}
	before.mustEqual(t, snapshot(t, root))

	// One pass does what was said.
	if code, _, stderr := runAnywhere(t, "prune", "--root", root, "--stale-after", "1m"); code != 0 || due.Exists() {
		t.Errorf("exit code %d, and the dir that is due exists: %v; %s", code, due.Exists(), stderr)
	}
	hasAll(t, live)
}

package integration

// The real spawner: running-process's own Python, from a checkout of it.

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// clientEnv names a checkout of github.com/zackees/running-process whose trampoline was built, or a
// directory that the package is installed in.
const clientEnv = "GCTEST_CLIENT"

// clientHelp says how to come by one.
const clientHelp = clientEnv + " names no running-process: pip install --target DIR running-process, or clone" +
	" github.com/zackees/running-process into DIR, build daemon-trampoline with cargo and copy it to" +
	" DIR/src/running_process/assets; then " + clientEnv + "=DIR"

// life is one process that the real spawner has started, as testdata/client.py tells of it.
type life struct {
	Name  string
	PID   int
	Start int64  // in ticks since the boot; 0 if it had ended by then
	Dir   string // of the daemon
	Inode uint64 // of Dir
	Code  *int   // how it has ended: an exit code, or -SIGNAL; nil if that is not known
	Files []string
	Error string
	ended bool
}

// realClient is a Python process that has loaded the real spawner, and the ground truth: what has
// happened by what it says, and what the watch has to say of it.
type realClient struct {
	t      *testing.T
	w      *watchProcess
	to     io.Writer
	from   *bufio.Reader
	calm   bool            // each deed waits until the log tells of the one before
	lives  map[string]life // by name and pid, as key gives them
	want   map[string]int  // lines of the log, as key gives them
	mayToo map[string]int  // lines beyond those
}

// startClient starts one whose runtime root is below data.
func startClient(t *testing.T, w *watchProcess, checkout, data string) *realClient {
	t.Helper()
	c := &realClient{t: t, w: w, lives: make(map[string]life), want: make(map[string]int), mayToo: make(map[string]int)}
	cmd := exec.Command("python3", "-B", filepath.Join("testdata", "client.py"), checkout)
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+data, "GCTEST_SECRET="+secret)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	to, err := cmd.StdinPipe()
	noError(t, err)
	from, err := cmd.StdoutPipe()
	noError(t, err)
	noError(t, cmd.Start())
	c.to, c.from = to, bufio.NewReader(from)
	t.Cleanup(func() {
		for _, l := range c.lives {
			if !l.ended {
				syscall.Kill(-l.PID, syscall.SIGKILL)
			}
		}
		to.Close()
		cmd.Wait()
	})
	return c
}

// ask has it do one thing, and returns what it answers.
func (c *realClient) ask(todo map[string]any) life {
	c.t.Helper()
	line, err := json.Marshal(todo)
	noError(c.t, err)
	if _, err := c.to.Write(append(line, '\n')); err != nil {
		c.t.Fatalf("%s: %v: %s", line, err, clientHelp)
	}
	answer, err := c.from.ReadBytes('\n')
	if err != nil {
		c.t.Fatalf("%s: %v: %s", line, err, clientHelp)
	}
	var l life
	noError(c.t, json.Unmarshal(answer, &l))
	if l.Error != "" {
		c.t.Fatalf("the client fails at %s: %s", line, l.Error)
	}
	return l
}

// key is what is compared of a line about a daemon.
func key(event, name string, pid int) string { return fmt.Sprintf("%s %s %d", event, name, pid) }

// keyOf is the key of a line.
func keyOf(e event) string { return key(e.event, e.daemon, max(0, int(e.number("pid")))) }

// expect expects a line, and waits for it if all is calm.
func (c *realClient) expect(event, name string, pid int) {
	c.t.Helper()
	line := key(event, name, pid)
	c.want[line]++
	if c.calm {
		daemondirtest.Eventually(c.t, line, func() bool {
			n := 0
			for _, e := range c.w.all(event, name) {
				if keyOf(e) == line {
					n++
				}
			}
			return n >= c.want[line]
		})
	}
}

// passing expects a line if all is calm. Else the next deed may be done before anybody looks, and
// what has passed meanwhile is not told.
func (c *realClient) passing(event, name string, pid int) {
	c.t.Helper()
	if c.calm {
		c.expect(event, name, pid)
	} else {
		c.mayToo[key(event, name, pid)]++
	}
}

// spawn has a daemon spawned, that runs command.
func (c *realClient) spawn(name string, log bool, command ...string) life {
	c.t.Helper()
	l := c.ask(map[string]any{"do": "spawn", "name": name, "cmd": command, "log": log})
	c.lives[key("", name, l.PID)] = l
	return l
}

// end has a process ended by that signal, or waits for its end if that is 0.
func (c *realClient) end(l life, sig syscall.Signal) {
	c.t.Helper()
	l.Code = c.ask(map[string]any{"do": "end", "name": l.Name, "pid": l.PID, "signal": int(sig)}).Code
	l.ended = true
	c.lives[key("", l.Name, l.PID)] = l
}

// finish ends a daemon whose dir the watch is to remove.
func (c *realClient) finish(l life, sig syscall.Signal) {
	c.t.Helper()
	c.end(l, sig)
	c.expect("daemon.exited", l.Name, l.PID)
	c.want[key("daemon.removed", l.Name, l.PID)]++
}

// intact fails the test if anything is missing from the dir of l, which is alive.
func (c *realClient) intact(l life) {
	c.t.Helper()
	seen := c.ask(map[string]any{"do": "look", "name": l.Name})
	for _, file := range []string{l.Name, daemondir.SidecarName(l.Name), daemondir.PIDFileName} {
		if !slices.Contains(seen.Files, file) {
			c.t.Errorf("%s is alive, and its dir has lost %s", l.Name, file)
		}
	}
	if seen.Inode != l.Inode || seen.PID != l.PID {
		c.t.Errorf("%s is alive as %d in dir %d, and there is %d in dir %d", l.Name, l.PID, l.Inode, seen.PID, seen.Inode)
	}
}

// cleanup has a daemon's dir removed by cleanup_runtime(), which kills nothing.
func (c *realClient) cleanup(name string) {
	c.t.Helper()
	c.ask(map[string]any{"do": "cleanup", "name": name})
	c.passing("daemon.gone", name, 0)
}

// play has n daemons of each kind live and die; their names begin with prefix.
func (c *realClient) play(prefix string, n int) {
	each := func(kind string, do func(name string, sig syscall.Signal)) {
		for i := range n {
			// Whatever is done with one kind of daemon is done with both signals.
			c.calm = i%4 < 2
			do(fmt.Sprintf("%s-%s-%d", prefix, kind, i), []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}[i%2])
		}
	}
	lasting := []string{"sleep", "600"}

	// Respawns over a live daemon, which is nobody's then.
	stay := make(map[string]life)
	each("stay", func(name string, _ syscall.Signal) {
		stay[name] = c.spawn(name, false, lasting...)
		c.expect("daemon.added", name, 0)
		c.passing("daemon.live", name, stay[name].PID)
	})
	each("stay", func(name string, sig syscall.Signal) {
		before := stay[name]
		c.intact(before)
		stay[name] = c.spawn(name, false, lasting...)
		if stay[name].Inode != before.Inode {
			c.t.Errorf("%s was spawned into the dir of a live daemon, and that is another one now", name)
		}
		c.expect("daemon.live", name, stay[name].PID)
		c.end(before, sig)
		if !c.calm { // it may be told before the pid file is read again
			c.passing("daemon.exited", name, before.PID)
		}
	})

	each("exit", func(name string, sig syscall.Signal) {
		l := c.spawn(name, true, lasting...)
		c.expect("daemon.added", name, 0)
		c.passing("daemon.live", name, l.PID)
		c.intact(l)
		c.finish(l, sig)
	})

	// A daemon outlives its dir, or its dir outlives it; then the name is free again.
	each("cleanup", func(name string, sig syscall.Signal) {
		l := c.spawn(name, false, lasting...)
		c.expect("daemon.added", name, 0)
		c.passing("daemon.live", name, l.PID)
		c.intact(l)
		if sig == syscall.SIGKILL {
			c.end(l, sig)
			c.passing("daemon.exited", name, l.PID)
			c.cleanup(name)
		} else {
			c.cleanup(name)
			c.end(l, sig)
			// The trampoline ends by itself if its sidecar goes before it has read that.
			c.mayToo[key("daemon.exited", name, l.PID)]++
		}
		l = c.spawn(name, false, lasting...)
		c.passing("daemon.added", name, 0)
		c.passing("daemon.live", name, l.PID)
		c.intact(l)
		c.finish(l, sig)
	})

	// A command may be over before anybody looks, but its end is told.
	each("short", func(name string, sig syscall.Signal) {
		l := c.spawn(name, sig == syscall.SIGKILL, "sh", "-c", "exit 3")
		c.expect("daemon.added", name, 0)
		c.mayToo[key("daemon.live", name, l.PID)]++
		c.finish(l, 0)
	})

	each("stay", func(name string, sig syscall.Signal) {
		c.intact(stay[name])
		c.finish(stay[name], sig)
	})
}

// Whatever the real spawner does, the log says it, once; and nothing of a live daemon is removed.
func TestRealClient(t *testing.T) {
	checkout := os.Getenv(clientEnv)
	if checkout == "" {
		t.Skip(clientHelp)
	}
	n, stale := 150, 3*time.Second
	if os.Getenv("GCTEST_LONG") != "" {
		n = 600
	}
	data := t.TempDir()
	root := filepath.Join(data, "running-process", "runtime")
	w := startWatch(t, root, "--stale-after", stale.String(), "--sweep-interval", "500ms", "--log-level", "info")
	f := follow(w)
	clients := make([]*realClient, 2)
	began := time.Now()
	t.Run("clients", func(t *testing.T) {
		for i := range clients {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				clients[i] = startClient(t, w, checkout, data)
				clients[i].play("c"+strconv.Itoa(i), n)
			})
		}
	})
	if t.Failed() {
		return
	}
	played := time.Since(began)
	if played < 2*stale {
		t.Errorf("all was over in %v: no daemon lived long enough to be removed by mistake", played)
	}
	// Nobody reads a sidecar meanwhile: that would end a removal that has begun.
	daemondirtest.Eventually(t, "all dirs are removed", func() bool {
		left, err := os.ReadDir(root)
		return err == nil && len(left) == 0
	})
	f.mustReach(t, root, nobodyLives)
	w.stop(syscall.SIGTERM)
	f.catchUp()
	f.mustBeConsistent(t)

	got, total := make(map[string]int), make(map[string]int)
	for _, e := range w.all("", "") {
		if strings.HasPrefix(e.event, "daemon.") {
			got[keyOf(e)]++
			total[e.event]++
		}
	}
	wanted, passed, lives := 0, 0, make(map[string]life)
	for _, c := range clients {
		maps.Copy(lives, c.lives)
		for line, more := range c.mayToo {
			c.want[line] += 0 // it is looked at, too
			passed += more
		}
		for line, n := range c.want {
			if most := n + c.mayToo[line]; got[line] < n || got[line] > most {
				t.Errorf("%s is in the log %d times, not %d to %d:\n%s", line, got[line], n, most, linesOf(w, strings.Fields(line)[1]))
			}
			wanted += n
			delete(got, line)
		}
	}
	for line, n := range got {
		t.Errorf("%s is in the log %d times, and has not happened:\n%s", line, n, linesOf(w, strings.Fields(line)[1]))
	}
	checkLives(t, w, lives)
	if t.Failed() {
		return
	}
	t.Logf("%d lives in %v: all %d lines that had to be in the log are, once, and of the %d that may be missing %d: %v",
		len(lives), played.Round(time.Second), wanted, passed, sum(total)-wanted, total)
}

// linesOf is what the log says of a daemon.
func linesOf(w *watchProcess, name string) string {
	var text strings.Builder
	for _, e := range w.all("", name) {
		text.WriteString(e.line)
	}
	return text.String()
}

// sum adds up what was counted.
func sum(counts map[string]int) int {
	all := 0
	for _, n := range counts {
		all += n
	}
	return all
}

// checkLives compares what the log says of each process with what the client says of it.
func checkLives(t *testing.T, w *watchProcess, lives map[string]life) {
	t.Helper()
	var boot int64 // in milliseconds; a busy machine may hold the watch up between two clocks
	for _, e := range w.all("", "") {
		l, ok := lives[key("", e.daemon, int(e.number("pid")))]
		if !ok || e.event != "daemon.live" && e.event != "daemon.exited" {
			continue
		}
		if e.fields["dir"] != l.Dir {
			t.Errorf("%d is in %s: %s", l.PID, l.Dir, e.line)
		}
		if at := e.number("started_at_unix_ms") - 10*l.Start; e.event == "daemon.live" && l.Start > 0 {
			if boot == 0 {
				boot = at
			}
			if at < boot-500 || at > boot+500 {
				t.Errorf("%d was started %d ms after another, and the log disagrees by %d ms: %s", l.PID, 10*l.Start, at-boot, e.line)
			}
		}
		if code := e.number("exit_code"); l.Code != nil && e.has("exit_code") && code != int64(*l.Code) {
			t.Errorf("%d has ended with %d: %s", l.PID, *l.Code, e.line)
		}
	}
}

package integration

// What list tells beyond its table and its array: one daemon by name, some by state,
// and whom it does not disturb.

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
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

	"golang.org/x/sys/unix"
)

// One daemon by name is what the array of all has of it, and every question that is
// asked about it; of every kind of dir, and without a change on disk.
func TestListOneByName(t *testing.T) {
	notUnderRace(t)
	t.Parallel()
	root, kinds := fixtures(t)
	began := time.Now()
	before := snapshot(t, root)
	for name, k := range kinds {
		o := run(t, "list", "--root", root, "--json", name).must(t)
		var one object
		if err := json.Unmarshal([]byte(o.stdout), &one); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, o.stdout)
		}
		one.mustHave(t, append(slices.Clone(rowKeys), "decision", "checks")...)
		k.mustMatch(t, one, filepath.Join(root, name), began)
		if reason, decision := one.text(t, "reason"), one.text(t, "decision"); reason != k.reason || decision != k.decision {
			t.Errorf("%s: %s for reason %q, want %s, %q", name, decision, reason, k.decision, k.reason)
		}
		var checks []struct{ Check, Outcome, Reason, Details string }
		if err := json.Unmarshal(one["checks"], &checks); err != nil || len(checks) < 8 {
			t.Errorf("%s: %d checks, %v", name, len(checks), err)
		}
		settled := ""
		for _, c := range checks {
			if c.Outcome == k.state {
				settled = c.Check
			}
		}
		if settled == "" {
			t.Errorf("%s: no check says %s: %v", name, k.state, checks)
		}

		o = run(t, "list", "--root", root, name).must(t)
		if !strings.HasPrefix(o.stdout, name+" is "+k.state) || o.stderr != "" {
			t.Errorf("%s:\n%s%s", name, o.stdout, o.stderr)
		}
		for _, c := range checks {
			if !strings.Contains(o.stdout, "\n"+c.Check+" ") {
				t.Errorf("%s: %s is not in the table:\n%s", name, c.Check, o.stdout)
			}
		}
	}
	before.mustEqual(t, snapshot(t, root))
}

func TestListByState(t *testing.T) {
	notUnderRace(t)
	t.Parallel()
	root, kinds := fixtures(t)
	for _, states := range []string{"alive", "dead", "invalid,unknown", "dead,alive,unknown,invalid"} {
		want := make(map[string]kind)
		for name, k := range kinds {
			if slices.Contains(strings.Split(states, ","), k.state) {
				want[name] = k
			}
		}
		mustName(t, "list --state "+states, listJSON(t, root, "--state", states), want)
		o := run(t, "list", "--root", root, "--state", states).must(t)
		if lines := strings.Count(o.stdout, "\n"); lines != len(want)+5 { // the headings, and what is said of all
			t.Errorf("list --state %s prints %d lines, want %d:\n%s", states, lines, len(want)+5, o.stdout)
		}
	}
}

// A protected dir stays, live or dead, whoever collects; the sidecar of a live one is
// refreshed. Its neighbours go.
func TestProtect(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("db-1", stale)
	s.dead("web", stale)
	s.dead("goes", stale)
	live := s.spawnAs("db-live", daemondirtest.Sidecar(time.Now(), time.Time{}))
	protect := []string{"--protect", "db-*", "--protect", "web"}
	listed := listJSON(t, root, protect...)
	_, dry := pruneJSON(t, root, append(protect, "--dry-run")...)
	for name, want := range map[string][2]string{
		"db-1": {"protected", "keep"}, "web": {"protected", "keep"},
		"goes": {"exited", "remove"}, "db-live": {"running", "refresh"},
	} {
		if got := listed[name].text(t, "reason"); got != want[0] {
			t.Errorf("%s is listed with reason %q, want %q", name, got, want[0])
		}
		if r, d := dry[name].text(t, "reason"), dry[name].text(t, "decision"); r != want[0] || d != want[1] {
			t.Errorf("prune would %s %s for reason %q, want %s, %q", d, name, r, want[1], want[0])
		}
	}
	w := startWatch(t, root, append(protect, "--sweep-interval", "100ms")...)
	w.next("daemon.removed", "goes")
	for _, name := range []string{"db-1", "web"} {
		if e := w.next("daemon.kept", name); e.fields["reason"] != "protected" {
			t.Errorf("%s", e.line)
		}
	}
	w.next("sidecar.refreshed", "db-live")
	for range 3 {
		w.next("sweep.done", "")
	}
	w.stop(syscall.SIGTERM)
	live.kill()
	run(t, append([]string{"prune", "--root", root, "--stale-after", "1ms"}, protect...)...).must(t)
	for _, name := range []string{"db-1", "web", "db-live"} {
		if _, err := os.Stat(s.sidecar(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Lstat(s.dir("goes")); !os.IsNotExist(err) {
		t.Errorf("the unprotected dir: %v", err)
	}
}

// Beside a watch that serves 2,000 dirs (in the long form 10,000), list is quick, and the watch does not notice:
// no removal is called off because list held a lock.
func TestListBesideWatch(t *testing.T) {
	t.Parallel()
	s := newSpawnerInMemory(t)
	root := s.root
	text := daemondirtest.Sidecar(ago(time.Hour), time.Time{})
	n := 2000
	if os.Getenv("GCTEST_LONG") != "" {
		n = 10_000
	}
	for i := range n {
		s.leave("daemon-"+strconv.Itoa(i), text, "")
	}
	s.dead("due-1", stale)
	s.spawn("live")
	w := startWatch(t, root, "--sweep-interval", "50ms", "--stale-after", "90m", "--protect", "due-*")
	w.next("daemon.kept", "due-1")
	var took []time.Duration
	for range 3 {
		began := time.Now()
		run(t, "list", "--root", root).must(t)
		took = append(took, time.Since(began))
		rows := listJSON(t, root)
		if len(rows) != n+2 || rows["due-1"].text(t, "reason") != "protected" || rows["live"].text(t, "state") != "alive" {
			t.Errorf("%d rows, due-1 is %v", len(rows), rows["due-1"])
		}
	}
	t.Logf("list of %d dirs beside a watch took %v", n, took)
	w.stop(syscall.SIGTERM)
	w.never("daemon.removed", "")
	w.never("sidecar.invalid", "")
}

// Colours are for terminals, and only for those that want them.
func TestListColors(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.spawn("live")
	for _, row := range []struct {
		name string
		env  []string
		want bool
	}{
		{"a terminal", []string{"TERM=xterm"}, true},
		{"an empty NO_COLOR is none", []string{"TERM=xterm", "NO_COLOR="}, true},
		{"NO_COLOR", []string{"TERM=xterm", "NO_COLOR=1"}, false},
		{"a dumb terminal", []string{"TERM=dumb"}, false},
	} {
		for _, args := range [][]string{{"list", "--root", root}, {"list", "--root", root, "live"}} {
			term := newTerminal(t)
			cmd := startTo(t, nil, func(cmd *exec.Cmd) {
				cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
					return strings.HasPrefix(v, "NO_COLOR=") || strings.HasPrefix(v, "TERM=")
				}), row.env...)
				cmd.Stdout = term.slave
			}, args...)
			term.read()
			if code := waitFor(t, cmd); code != 0 {
				t.Errorf("%q: exit code %d, want 0", args, code)
			}
			text := term.log.String()
			if !strings.Contains(text, "alive") || strings.Contains(text, "\x1b[") != row.want {
				t.Errorf("%s, %q: colours %v, want %v: %q", row.name, args, !row.want, row.want, text)
			}
		}
	}
}

// A name that no table could hold is explained like every other.
func TestListWildName(t *testing.T) {
	notUnderRace(t)
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	for _, name := range wildNames() {
		s.leave(name, daemondirtest.Sidecar(ago(stale), ago(stale)), noProcess)
		o := run(t, "list", "--root", root, "--", name).must(t)
		mustBePrintable(t, "list of one", o.stdout)
		if !strings.HasPrefix(o.stdout, daemondir.Printable(name)+" is dead") {
			t.Errorf("%q:\n%s", name, o.stdout)
		}
	}
}

// On a terminal the table is as wide as the terminal, which COLUMNS overrides.
func TestListFitsTerminal(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("a-name-of-usual-length-1", stale)
	s.spawn("live")
	for _, row := range []struct {
		terminal uint16
		columns  string
		want     int // at most so wide
		headings string
	}{
		{200, "", 200, "NAME STATE PID UP SINCE LAST SEEN REMOVED IN WHY"},
		{80, "", 80, "NAME STATE LAST SEEN REMOVED IN WHY"},
		{60, "", 60, "NAME STATE REMOVED IN WHY"},
		{60, "80", 80, "NAME STATE LAST SEEN REMOVED IN WHY"},
		{0, "", 200, "NAME STATE PID UP SINCE LAST SEEN REMOVED IN WHY"}, // it does not know
	} {
		term := newTerminal(t)
		noError(t, unix.IoctlSetWinsize(int(term.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: row.terminal}))
		cmd := startTo(t, nil, func(cmd *exec.Cmd) {
			cmd.Env = append(os.Environ(), "NO_COLOR=1", "COLUMNS="+row.columns)
			cmd.Stdout = term.slave
		}, "list", "--root", root)
		term.read()
		if code := waitFor(t, cmd); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
		lines := strings.Split(term.shown(), "\n")
		if got := strings.Join(strings.Fields(lines[0]), " "); got != row.headings {
			t.Errorf("%d columns, COLUMNS=%s: headings %q, want %q", row.terminal, row.columns, got, row.headings)
		}
		for _, line := range lines {
			if len(line) > row.want {
				t.Errorf("%d columns, COLUMNS=%s: %d in %q", row.terminal, row.columns, len(line), line)
			}
		}
	}
}

// So are the descriptions of flags in the help.
func TestHelpFitsTerminal(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	noError(t, unix.IoctlSetWinsize(int(term.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100}))
	cmd := startTo(t, nil, func(cmd *exec.Cmd) { cmd.Stdout = term.slave }, "prune", "--help")
	term.read()
	if code := waitFor(t, cmd); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	text := term.shown()
	for _, line := range strings.Split(text, "\n") {
		if len(line) > 100 {
			t.Errorf("%d columns: %q", len(line), line)
		}
	}
	if !strings.Contains(text, "--shared-root ") {
		t.Errorf("it does not list the flags:\n%s", text)
	}
}

// The reader of `list | head -1` has had enough: nobody is told of an error. As any program that
// writes to a pipe, list is ended by the signal of that.
func TestReaderOfTheListLeaves(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	for i := range 200 { // more than fit into the pipe
		daemondirtest.MakeDead(t, root, fmt.Sprintf("web-%04d", i), time.Hour)
	}
	for _, args := range [][]string{{"list"}, {"list", "--json"}} {
		cmd := exec.Command(binary(t), append(args, "--root", root)...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, in, err := os.Pipe()
		noError(t, err)
		_, err = unix.FcntlInt(in.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize())
		noError(t, err)
		cmd.Stdout = in
		noError(t, cmd.Start())
		in.Close()
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Error(err)
		}
		out.Close()
		cmd.Wait() // its error is what is looked at
		if got := cmd.ProcessState.String(); got != "signal: broken pipe" || stderr.String() != "" {
			t.Errorf("%s: %s: %s", args, got, &stderr)
		}
	}
}

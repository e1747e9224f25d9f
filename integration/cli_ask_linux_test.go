package integration

// list and prune beside a running watch.

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// afterTable runs a command on root and returns what it prints after the table.
func afterTable(t *testing.T, args ...string) string {
	t.Helper()
	o := run(t, args...).must(t)
	_, after, found := strings.Cut(o.stdout, "\n\n")
	if !found {
		t.Fatalf("%q prints nothing after the table: %s", args, o.stdout)
	}
	return after
}

// list says whether a watch serves the root, and goes by what that watch goes by.
func TestListGoesByTheWatch(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("web", time.Hour)
	s.dead("db-1", stale)
	if got := afterTable(t, "list", "--root", root); !strings.Contains(got, "No watch serves this root") {
		t.Errorf("without a watch: %s", got)
	}
	w := startWatch(t, root, "--stale-after", "90m", "--sweep-interval", "1h", "--protect", "db-*")
	w.next("sweep.done", "")
	got := afterTable(t, "list", "--root", root)
	for _, want := range []string{fmt.Sprintf("Watched by pid %d since ", w.cmd.Process.Pid), "stale after 1h 30m", "a sweep every 1h", "protected db-*"} {
		if !strings.Contains(got, want) {
			t.Errorf("it does not say %q: %s", want, got)
		}
	}
	rows := listJSON(t, root)
	if rows["db-1"].text(t, "reason") != "protected" {
		t.Errorf("db-1 is protected by the watch: %v", rows["db-1"])
	}
	due := rows["web"].number(t, "stale_at_unix_ms") - rows["web"].number(t, "last_seen_unix_ms")
	if due != (90 * time.Minute).Milliseconds() {
		t.Errorf("web is due %d ms after it was seen", due)
	}
	// Unless told otherwise.
	rows = listJSON(t, root, "--stale-after", "2h", "--protect", "nothing")
	if rows["db-1"].text(t, "reason") != "exited" {
		t.Errorf("with another --protect: %v", rows["db-1"])
	}
	due = rows["web"].number(t, "stale_at_unix_ms") - rows["web"].number(t, "last_seen_unix_ms")
	if due != (2 * time.Hour).Milliseconds() {
		t.Errorf("with another --stale-after, web is due %d ms after it was seen", due)
	}
	if o := run(t, "list", "--root", root, "web").must(t); !strings.Contains(o.stdout, "1h 30m must pass") || !strings.Contains(o.stdout, "Watched by pid") {
		t.Errorf("list web: %s", o.stdout)
	}
	if o := run(t, "prune", "--root", root, "--dry-run").must(t); strings.Contains(o.stdout, "would be removed") && strings.Contains(o.stdout, "db-1  (exited)") {
		t.Errorf("prune --dry-run: %s", o.stdout)
	}
	_ = w.cmd.Process.Kill()
	<-w.done
	if got := afterTable(t, "list", "--root", root); !strings.Contains(got, "No watch serves this root") {
		t.Errorf("after the watch was killed: %s", got)
	}
}

// A dry run is known as one, also beside a watch that serves.
func TestListBesideADryRun(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	newSpawner(t, root).dead("web", time.Hour)
	dry := startWatch(t, root, "--dry-run")
	dry.next("sweep.done", "")
	if got := afterTable(t, "list", "--root", root); !strings.Contains(got, fmt.Sprintf("pid %d", dry.cmd.Process.Pid)) || !strings.Contains(got, "it is a dry run, and removes nothing") {
		t.Errorf("beside a dry run: %s", got)
	}
	w := startWatch(t, root, "--sweep-interval", "1h")
	w.next("sweep.done", "")
	if got := afterTable(t, "list", "--root", root); !strings.Contains(got, fmt.Sprintf("Watched by pid %d since", w.cmd.Process.Pid)) {
		t.Errorf("beside both: %s", got)
	}
	w.stop(syscall.SIGTERM)
	dry.stop(syscall.SIGTERM)
}

// prune has the watch remove dirs by name, or all that are due, at once and through all checks.
func TestPruneByTheWatch(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("young", time.Hour)
	s.dead("other", time.Hour)
	s.dead("protected", time.Hour)
	live := s.spawn("live")
	w := startWatch(t, root, "--sweep-interval", "1h", "--protect", "protected")
	w.next("sweep.done", "")
	prune := func(code int, want string, args ...string) {
		t.Helper()
		o := run(t, append([]string{"prune", "--root", root}, args...)...)
		if all := o.stdout + o.stderr; o.code != code || !strings.Contains(all, want) {
			t.Errorf("prune %q: exit code %d, want %d and %q: %s", args, o.code, code, want, all)
		}
	}
	prune(1, "kept  young  (not_stale)", "young")
	prune(1, "kept  live  (running)", "live", "--stale-after", "1ms")
	prune(1, "kept  protected  (protected)", "protected", "--stale-after", "1ms")
	prune(1, `no daemon dir "nobody"`, "nobody")
	prune(1, "protects other names", "young", "--protect", "x*")
	prune(1, `give --metrics-textfile to the watch`, "young", "--metrics-textfile", root+"/../metrics.prom")
	if n := len(w.all("daemon.removed", "")); n != 0 {
		t.Fatalf("%d dirs were removed", n)
	}
	prune(0, "removed  young  (exited)", "young", "--stale-after", "30m")
	e := w.next("daemon.removed", "young")
	if e.number("age_ms") < time.Hour.Milliseconds() {
		t.Errorf("logged %s", e.line)
	}
	stale := s.dead("stale", stale)
	w.next("daemon.exited", "stale")
	prune(0, "removed  stale  (exited)")
	if _, err := os.Lstat(stale.dir); !os.IsNotExist(err) {
		t.Errorf("stale: %v", err)
	}
	for _, e := range w.all("sweep.requested", "") {
		if e.number("client_pid") <= 0 || e.number("client_uid") != int64(os.Geteuid()) {
			t.Errorf("it does not say who: %s", e.line)
		}
	}
	var result struct {
		RemovedDirs int `json:"removed_dirs"`
		ScannedDirs int `json:"scanned_dirs"`
		Daemons     []struct{ Name, Dir, Decision string }
	}
	o := run(t, "prune", "--root", root, "--json", "other", "--stale-after", "1m").must(t)
	noError(t, json.Unmarshal([]byte(o.stdout), &result))
	if result.RemovedDirs != 1 || result.ScannedDirs != 1 || len(result.Daemons) != 1 || result.Daemons[0].Dir != s.dir("other") {
		t.Errorf("prune --json: %s", o.stdout)
	}
	live.kill()
	w.next("daemon.exited", "live")
	time.Sleep(10 * time.Millisecond)
	prune(0, "removed  live", "live", "--stale-after", "1ms")
	w.stop(syscall.SIGTERM)
	w.never("daemon.removed", "protected")
}

// Without a watch, prune does the same by itself.
func TestPruneByName(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("one", stale)
	s.dead("two", stale)
	s.dead("young", time.Hour)
	if o := run(t, "prune", "--root", root, "--dry-run", "one", "young").must(t); !strings.Contains(o.stdout, "would be removed  one") || !strings.Contains(o.stdout, "kept  young") {
		t.Errorf("%s", o.stdout)
	}
	o := run(t, "prune", "--root", root, "one", "young")
	if o.code != 1 || !strings.Contains(o.stdout, "1 removed") || !strings.Contains(o.stderr, `1 of 2 named dirs were not removed, the first: "young"`) {
		t.Errorf("exit code %d: %s%s", o.code, o.stdout, o.stderr)
	}
	if left := listJSON(t, root); len(left) != 2 {
		t.Errorf("left: %v", left)
	}
}

// A name may be any bytes.
func TestPruneOfAnOddName(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	w := startWatch(t, root, "--sweep-interval", "1h")
	w.next("sweep.done", "")
	for _, name := range []string{"a b", "caf\xe9\x01", "-x", "\u202e"} {
		s.dead(name, stale)
		for deadline := time.Now().Add(patience); ; {
			o := run(t, "prune", "--root", root, "--", name)
			if o.code == 0 {
				break
			}
			if !strings.Contains(o.stderr, "try again") || time.Now().After(deadline) { // the watch may not have seen it
				t.Fatalf("%q: %s%s", name, o.stdout, o.stderr)
			}
		}
		if _, err := os.Lstat(s.dir(name)); !os.IsNotExist(err) {
			t.Errorf("%q: %v", name, err)
		}
	}
	w.stop(syscall.SIGTERM)
}

// SIGUSR1 makes it sweep at once.
func TestSweepBySignal(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	w := startWatch(t, root, "--sweep-interval", "1h")
	w.next("sweep.done", "")
	s.dead("due", stale)
	w.next("daemon.exited", "due")
	noError(t, w.cmd.Process.Signal(syscall.SIGUSR1))
	w.next("sweep.requested", "")
	w.next("daemon.removed", "due")
	w.stop(syscall.SIGTERM)
}

// A watch answers to its own user, to root, and to the owner of the root; to nobody else, who
// is not believed either.
func TestOthersAreNotAnswered(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be two users")
	}
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("young", time.Hour)
	owner := ordinaryUser(t, root)
	stranger := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4242, Gid: 4242}}
	w := startWatch(t, root, "--sweep-interval", "1h") // as root
	w.next("sweep.done", "")
	as := func(attr *syscall.SysProcAttr, args ...string) outcome {
		return runWith(t, func(cmd *exec.Cmd) { cmd.SysProcAttr, cmd.Env = attr, append(os.Environ(), "HOME="+t.TempDir()) }, args...)
	}
	if o := as(stranger, "list", "--root", root).must(t); !strings.Contains(o.stdout, "cannot be asked") {
		t.Errorf("a stranger's list: %s", o.stdout)
	}
	if o := as(stranger, "prune", "--root", root, "young", "--stale-after", "1m"); o.code != 1 || !strings.Contains(o.stderr, "cannot be asked") {
		t.Errorf("a stranger's prune: exit code %d: %s", o.code, o.stderr)
	}
	if n := len(w.all("sweep.requested", "")); n != 0 {
		t.Errorf("%d requests of a stranger were accepted", n)
	}
	if o := as(owner, "prune", "--root", root, "young", "--stale-after", "1m"); o.code != 0 || !strings.Contains(o.stdout, "removed  young") {
		t.Errorf("the owner's prune: exit code %d: %s%s", o.code, o.stdout, o.stderr)
	}
	if e := w.next("sweep.requested", ""); e.number("client_uid") != nobodyID {
		t.Errorf("logged %s", e.line)
	}
	w.stop(syscall.SIGTERM)

	// A stranger's dry run is not what the owner's list goes by.
	noError(t, os.Chmod(root, 0o755))
	w = startWatchAs(t, stranger, root, "--dry-run", "--stale-after", "1s", "--config", "/dev/null")
	w.next("sweep.done", "")
	if o := as(owner, "list", "--root", root).must(t); strings.Contains(o.stdout, "Watched by") || !strings.Contains(o.stdout, "another user") {
		t.Errorf("beside a stranger's dry run: %s", o.stdout)
	}
	w.stop(syscall.SIGTERM)
}

// A collector that cannot be asked, such as one of another version, is named.
func TestPruneBesideOneThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	newSpawner(t, root).dead("due", stale)
	lockRoot(t, root)
	us := fmt.Sprintf("pid %d", os.Getpid())
	if o := run(t, "prune", "--root", root, "due"); o.code != 1 || !strings.Contains(o.stderr, us) || !strings.Contains(o.stderr, "stop it") {
		t.Errorf("prune: exit code %d: %s", o.code, o.stderr)
	}
	if got := afterTable(t, "list", "--root", root); !strings.Contains(got, us) || !strings.Contains(got, "cannot be asked from here") {
		t.Errorf("list: %s", got)
	}
}

// The root is replaced while the watch runs: it answers for the new one, not for the old.
func TestAskAfterTheRootWasReplaced(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("young", time.Hour)
	w := startWatch(t, root, "--sweep-interval", "1h")
	w.next("sweep.done", "")
	old := root + ".old"
	noError(t, os.Rename(root, old))
	w.next("root.lost", "")
	noError(t, os.Mkdir(root, 0o755))
	w.next("root.found", "")
	w.next("root.found", "")
	s.dead("new", time.Hour)
	w.next("daemon.added", "new")
	if got := afterTable(t, "list", "--root", root); !strings.Contains(got, "Watched by") {
		t.Errorf("the new root: %s", got)
	}
	if o := run(t, "prune", "--root", root, "new", "--stale-after", "1m").must(t); !strings.Contains(o.stdout, "removed  new") {
		t.Errorf("the new root: %s", o.stdout)
	}
	if got := afterTable(t, "list", "--root", old); strings.Contains(got, "Watched by") {
		t.Errorf("the old root: %s", got)
	}
	w.stop(syscall.SIGTERM)
}

package integration

// A root with one dir of every kind that there is, and what must become of each.

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// kind is what must be said and done of one dir.
type kind struct {
	state    string
	reason   string
	decision string

	spawnedAt, lastSeen int64  // 0: null
	pid                 string // "": null
}

// stale is older than the default of --stale-after.
const stale = 7 * time.Hour

// fixtures fills a new root. It returns what must be said of each dir, by name; what is not
// in there must not be said anything of.
func fixtures(t *testing.T) (root string, kinds map[string]kind) {
	t.Helper()
	root = runtimeRoot(t)
	s := newSpawner(t, root)
	kinds = make(map[string]kind)
	put := func(name string, k kind, spawnedAt, lastSeen time.Time, pid int) {
		k.spawnedAt, k.lastSeen = unixMS(spawnedAt), unixMS(lastSeen)
		if k.lastSeen == 0 {
			k.lastSeen = k.spawnedAt
		}
		if pid > 0 {
			k.pid = strconv.Itoa(pid)
		}
		kinds[name] = k
	}
	check := func(err error) { t.Helper(); noError(t, err) }

	// Living.
	now, old := time.Now(), ago(stale)
	alive := kind{state: "alive", reason: "running", decision: "refresh"}
	put("live", alive, now, now, s.spawnAs("live", daemondirtest.Sidecar(now, now)).pid)
	put("live-unseen", alive, now, time.Time{}, s.spawnAs("live-unseen", daemondirtest.Sidecar(now, time.Time{})).pid)
	// Its clock was set, or its spawner stopped, between sidecar and process; it was not
	// seen for long; it still runs from its dir.
	put("live-skewed", alive, old, old, s.spawnAs("live-skewed", daemondirtest.Sidecar(old, old)).pid)
	s.spawnAs("live-cut-pid", daemondirtest.Sidecar(old, old))
	check(os.WriteFile(filepath.Join(s.dir("live-cut-pid"), "daemon.pid"), nil, 0o644))
	put("live-cut-pid", kind{state: "dead", reason: "in_use", decision: "keep"}, old, old, 0)

	// Dead, and due.
	due := func(reason string) kind { return kind{state: "dead", reason: reason, decision: "remove"} }
	stalely := func(name string) *daemon { return s.spawnAs(name, daemondirtest.Sidecar(old, old)) }
	killed := func(name string) int {
		d := stalely(name)
		d.kill()
		return d.pid
	}
	put("dead", due("exited"), old, old, killed("dead"))
	z := stalely("zombie")
	check(z.abandon())
	put("zombie", due("zombie"), old, old, z.pid)
	s.leave("no-pid", daemondirtest.Sidecar(old, time.Time{}), "")
	put("no-pid", due("no_pid"), old, time.Time{}, 0)
	s.leave("garbled-pid", daemondirtest.Sidecar(old, old), "12x")
	put("garbled-pid", due("no_pid"), old, old, 0)
	other := bystander(t, "/")
	s.leave("pid-reused", daemondirtest.Sidecar(old, old), strconv.Itoa(other))
	put("pid-reused", due("pid_reused"), old, old, other)
	check(os.MkdirAll(filepath.Join(root, "dead", "logs", "2024"), 0o755))
	check(os.WriteFile(filepath.Join(root, "dead", "logs", "2024", "a.log"), []byte("a line\n"), 0o644))
	check(os.Symlink("/etc/passwd", filepath.Join(root, "dead", "logs", "passwd")))
	daemondirtest.MakeOld(t, filepath.Join(root, "dead", "logs"), stale)

	// Dead, not due.
	recent := ago(5 * time.Hour)
	d := s.spawnAs("recent", daemondirtest.Sidecar(old, recent))
	d.kill()
	put("recent", kind{state: "dead", reason: "not_stale", decision: "keep"}, old, recent, d.pid)
	d = s.spawnAs("no-timestamp", daemondirtest.Sidecar(time.Time{}, time.Time{}))
	d.kill()
	put("no-timestamp", kind{state: "dead", reason: "no_timestamp", decision: "keep"}, time.Time{}, time.Time{}, d.pid)

	// Dead and due, but in use.
	kept := func(reason string) kind {
		return kind{state: "dead", reason: reason, decision: "keep"}
	}
	put("locked", kept("locked"), old, old, killed("locked"))
	flockShared(t, s.dir("locked"))
	put("in-use-cwd", kept("in_use"), old, old, killed("in-use-cwd"))
	bystander(t, s.dir("in-use-cwd"))
	put("in-use-file", kept("in_use"), old, old, killed("in-use-file"))
	log, err := os.Create(filepath.Join(s.dir("in-use-file"), "out.log"))
	check(err)
	bystander(t, "/", log)
	check(log.Close())

	// Neither dead nor alive for certain: a process whose executable we may not see, with
	// a start that does not match.
	if pid := hiddenProcess(t); pid > 0 {
		s.leave("unknown", daemondirtest.Sidecar(old, old), strconv.Itoa(pid))
		put("unknown", kind{state: "unknown", reason: "unknown_liveness", decision: "keep"}, old, old, pid)
	}

	// Without a usable sidecar.
	invalid := func(name, reason string) {
		put(name, kind{state: "invalid", reason: reason, decision: "keep"}, time.Time{}, time.Time{}, 0)
	}
	s.leave("not-json", []byte(`{"env": {"K": "`+secret), "")
	invalid("not-json", "sidecar_not_json")
	s.leave("no-object", []byte(`["`+secret+`"]`), "")
	invalid("no-object", "sidecar_not_object")
	s.leave("empty-sidecar", nil, "")
	invalid("empty-sidecar", "sidecar_empty")
	check(os.Mkdir(s.dir("empty"), 0o755))
	invalid("empty", "not_a_daemon_dir")
	check(os.Mkdir(s.dir("fifo"), 0o755))
	check(syscall.Mkfifo(s.sidecar("fifo"), 0o644))
	invalid("fifo", "sidecar_not_regular")
	check(os.Mkdir(s.dir("linked-sidecar"), 0o755))
	check(os.Symlink(s.sidecar("dead"), s.sidecar("linked-sidecar")))
	invalid("linked-sidecar", "sidecar_not_regular")

	// No dir in the root at all: to be left alone in silence.
	outside := newSpawner(t, t.TempDir())
	outside.dead("linked-dir", stale)
	check(os.Symlink(outside.dir("linked-dir"), s.dir("linked-dir")))
	check(os.WriteFile(s.dir("a-file"), []byte(secret), 0o644))

	// Left by removals that were interrupted after the rename.
	put(".pruned-left-dead", kind{state: "dead", reason: "leftover", decision: "remove"},
		old, old, killed("left-dead"))
	check(os.Rename(s.dir("left-dead"), s.dir(".pruned-left-dead")))
	put(".pruned-left-live", kind{state: "alive", reason: "in_use", decision: "keep"},
		old, old, stalely("left-live").pid)
	check(os.Rename(s.dir("left-live"), s.dir(".pruned-left-live")))
	return root, kinds
}

func unixMS(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// hiddenProcess returns the pid of a process of this user whose executable cannot be read
// from here. 0: there is none.
func hiddenProcess(t testing.TB) int {
	t.Helper()
	if os.Geteuid() == 0 {
		// In a container the first process may be hidden from root, too.
		if _, err := os.Readlink("/proc/1/exe"); errors.Is(err, os.ErrPermission) {
			return 1
		}
		return 0
	}
	// What runs a program that it may not read is not to be inspected (ptrace(2)).
	path := filepath.Join(t.TempDir(), "hidden")
	noError(t, errors.Join(daemondirtest.CopyProgram(path, trampolineImage(t)), os.Chmod(path, 0o111)))
	cmd := waiting(path)
	noError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

// orNull returns what stands for n in JSON; 0 is unknown.
func orNull(n int64) string {
	if n == 0 {
		return "null"
	}
	return strconv.FormatInt(n, 10)
}

// mustMatch checks the part of a row that does not depend on who is asked.
func (k kind) mustMatch(t *testing.T, row object, dir string, began time.Time) {
	t.Helper()
	name := filepath.Base(dir)
	staleAt := k.lastSeen
	if staleAt > 0 {
		staleAt += (6 * time.Hour).Milliseconds()
	}
	pid := k.pid
	if pid == "" {
		pid = "null"
	}
	for key, want := range map[string]string{
		"dir": strconv.Quote(dir), "pid": pid, "state": strconv.Quote(k.state),
		"spawned_at_unix_ms": orNull(k.spawnedAt), "last_seen_unix_ms": orNull(k.lastSeen),
		"stale_at_unix_ms": orNull(staleAt),
	} {
		if got := string(row[key]); got != want {
			t.Errorf("%s of %s is %s, want %s", key, name, got, want)
		}
	}
	switch k.state {
	case "alive":
		// Whole seconds, truncated twice: up to two seconds early.
		at := row.number(t, "started_at_unix_ms")
		if at < began.Add(-patience).UnixMilli() || at > began.UnixMilli() {
			t.Errorf("started_at_unix_ms of %s is %d, far from %d", name, at, began.UnixMilli())
		}
	case "dead", "invalid":
		if got := string(row["started_at_unix_ms"]); got != "null" {
			t.Errorf("started_at_unix_ms of %s is %s, but no process is its own", name, got)
		}
	}
}

// mustName fails the test for each dir that is said something of and should not be,
// or the other way round.
func mustName(t *testing.T, who string, rows map[string]object, kinds map[string]kind) {
	t.Helper()
	got, want := slices.Sorted(maps.Keys(rows)), slices.Sorted(maps.Keys(kinds))
	if !slices.Equal(got, want) {
		t.Errorf("%s speaks of\n%q, want\n%q", who, got, want)
	}
}

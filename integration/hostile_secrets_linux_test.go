package integration

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// troubledRoot returns a root in which everything that can go wrong does, for an
// ordinary user, with a secret in every sidecar, and the attributes of that user.
func troubledRoot(t *testing.T) (root string, attr *syscall.SysProcAttr) {
	t.Helper()
	root = runtimeRoot(t)
	s := newSpawner(t, root)
	check := func(err error) { t.Helper(); noError(t, err) }
	s.spawn("live")
	s.spawn("unwritable")
	s.dead("due", stale)
	s.dead("locked", stale)
	flockShared(t, s.dir("locked"))
	s.dead("in-use", stale)
	s.dead("sealed", stale)
	check(os.MkdirAll(filepath.Join(s.dir("sealed"), "logs", "old"), 0o755))
	s.dead("unreadable-dir", stale)
	s.dead("unreadable-sidecar", stale)
	s.leave("no-pid", daemondirtest.Sidecar(ago(stale), time.Time{}), secret)

	whole := string(daemondirtest.Sidecar(ago(stale), ago(stale)))
	for name, text := range map[string]string{
		"cut":             whole[:len(whole)/2],
		"cut-in-a-number": `{"` + secret + `": 12`,
		"bad-number":      `{"` + secret + `": 012, "k": "` + secret + `"}`,
		"bad-escape":      `{"` + secret + `": "` + secret + `\q"}`,
		"bad-utf8":        `{"` + secret + `": "` + secret + "\xff\"}",
		"lone-surrogate":  `{"` + secret + `": "` + secret + `\ud800"}`,
		"byte-order-mark": "\ufeff" + whole,
		"trailing":        whole + secret,
		"no-object":       `["` + secret + `"]`,
		"bare-word":       secret,
		"bad-timestamps":  `{"spawned_at_unix_ms": "` + secret + `", "last_seen_unix_ms": {"` + secret + `": 1}}`,
		"deep":            strings.Repeat(`{"`+secret+`":`, 200) + "1" + strings.Repeat("}", 200),
		"huge":            `{"k": "` + strings.Repeat(secret, 100_000) + `"}`,
	} {
		s.leave(name, []byte(text), "")
	}

	attr = ordinaryUser(t, root)
	bystanderAs(t, attr, s.dir("in-use")) // others' processes are not for that user to see
	check(os.Chmod(s.sidecar("unwritable"), 0o444))
	check(os.Chmod(filepath.Join(s.dir("sealed"), "logs"), 0))
	check(os.Chmod(s.dir("unreadable-dir"), 0))
	check(os.Chmod(s.sidecar("unreadable-sidecar"), 0))
	t.Cleanup(func() { chmodBelow(root, 0o755) })
	return root, attr
}

// A sidecar holds the daemon's whole environment. Whatever goes wrong with it, nothing
// of it but its two timestamps may get into a log, a table or an error. (All output of
// all tests is checked for the secret; here is where it is lured out.)
func TestSecretsStayIn(t *testing.T) {
	t.Parallel()
	notUnderRace(t)
	t.Run("watch", func(t *testing.T) {
		t.Parallel()
		root, attr := troubledRoot(t)
		w := startWatchAs(t, attr, root, "--sweep-interval", "200ms")
		w.next("daemon.removed", "due")
		w.next("daemon.kept", "locked")
		w.next("daemon.kept", "in-use")
		w.next("daemon.kept", "sealed")
		w.next("sidecar.unwritable", "unwritable")
		for _, name := range []string{"cut", "bad-utf8", "huge", "deep", "unreadable-dir", "unreadable-sidecar"} {
			w.next("sidecar.invalid", name)
		}
		w.sweeps(2)
		w.stop(syscall.SIGTERM)
	})
	t.Run("watch on a console", func(t *testing.T) {
		t.Parallel()
		root, attr := troubledRoot(t)
		c := startConsole(t, attr, root, "--sweep-interval", "200ms")
		c.await("sidecar cannot be used", 10)
		c.await("permission denied", 2)
		log := c.stop()
		checkSecrets(t, "the console", log)
		mustBePrintable(t, "the console", log)
	})
	for _, args := range []string{
		"list", "list --json", "prune --dry-run", "prune --json --dry-run", "prune", "prune --json",
		"prune --log-format console", "list --log-format console",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			root, attr := troubledRoot(t)
			o := runAs(t, attr, append(strings.Fields(args), "--root", root, "--log-level", "debug")...)
			for _, name := range []string{"due", "sealed"} {
				if !strings.Contains(o.stdout, name) {
					t.Errorf("it does not tell of %s:\n%s\n%s", name, o.stdout, o.stderr)
				}
			}
			if strings.HasPrefix(args, "prune") {
				if o.code != 1 || !strings.Contains(o.stderr, "permission denied") {
					t.Errorf("exit code %d, want 1, as not all goes well; stderr:\n%s", o.code, o.stderr)
				}
				return
			}
			o.must(t)
		})
	}
}

// The log of a run is JSON lines, even of one that ends with an error, but for the last
// word to whoever called it.
func TestLogOfPruneIsJSON(t *testing.T) {
	t.Parallel()
	root, attr := troubledRoot(t)
	o := runAs(t, attr, "prune", "--root", root, "--log-format", "json")
	lines := bytes.SplitAfter([]byte(o.stderr), []byte("\n"))
	for _, line := range lines {
		if len(line) == 0 || bytes.HasPrefix(line, []byte("runtimegc: ")) {
			continue
		}
		if _, err := parseEvent(line, false); err != nil {
			t.Errorf("%v in log line %q", err, line)
		}
	}
	if len(lines) < 3 {
		t.Errorf("prune said next to nothing: %q", o.stderr)
	}
}

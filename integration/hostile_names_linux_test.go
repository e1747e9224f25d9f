package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// A daemon's name is any bytes its user likes. It must be served like every other, and
// must not break a log line, forge one, or steer the terminal that it is read on.
func TestWildNames(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	w := startWatch(t, root, "--stale-after", "4s", "--sweep-interval", "200ms")
	names := wildNames()
	var daemons []*daemon
	for _, name := range names {
		daemons = append(daemons, s.spawn(name))
	}
	for _, d := range daemons {
		// Names as they are read differ by more than their escapes here.
		if e := w.next("daemon.live", daemondir.Printable(d.name)); e.number("pid") != int64(d.pid) {
			t.Errorf("%q: want pid %d: %s", d.name, d.pid, e.line)
		}
	}
	checkWildList(t, root, names)
	for _, d := range daemons {
		w.next("sidecar.refreshed", daemondir.Printable(d.name))
		d.kill()
		w.next("daemon.exited", daemondir.Printable(d.name))
	}
	for _, d := range daemons {
		e := w.next("daemon.removed", daemondir.Printable(d.name))
		for _, key := range []string{"daemon", "dir", "message"} {
			text, _ := e.fields[key].(string)
			if err := printable(text); err != nil {
				t.Errorf("%s in %s of %q", err, key, text)
			}
		}
	}
	w.stop(syscall.SIGTERM)
	w.never("daemon.gone", "")
	w.never("sidecar.invalid", "")
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("left in the root: %v, %v", left, err)
	}
}

// checkWildList checks what list and a dry run of prune print of live daemons.
func checkWildList(t *testing.T, root string, names []string) {
	t.Helper()
	o := run(t, "list", "--root", root, "--json").must(t)
	var rows []struct{ Name, State string }
	noError(t, json.Unmarshal([]byte(o.stdout), &rows))
	for _, name := range names {
		// JSON is UTF-8: what is none is replaced.
		want := string([]rune(name))
		if !slices.ContainsFunc(rows, func(r struct{ Name, State string }) bool { return r.Name == want && r.State == "alive" }) {
			t.Errorf("list --json does not show %q alive", name)
		}
	}
	o = run(t, "list", "--root", root).must(t)
	table, _, _ := strings.Cut(o.stdout, "\n\n")
	lines := mustBePrintable(t, "list", table)
	if len(lines) != len(names)+1 {
		t.Errorf("list printed %d lines for %d daemons", len(lines), len(names))
	}
	for _, args := range [][]string{{"prune", "--dry-run"}, {"prune", "--dry-run", "--stale-after", "1ms"}} {
		o := run(t, append(args, "--root", root, "--log-level", "debug")...).must(t)
		mustBePrintable(t, "prune", o.stdout)
		mustBePrintable(t, "the log of prune", o.stderr)
	}
}

// The log for people goes to a terminal, so there it matters most; and so it does
// where a failure quotes the name of a file that is in the way.
func TestWildNamesOnTheConsole(t *testing.T) {
	t.Parallel()
	for format, start := range map[string]func(*testing.T, *syscall.SysProcAttr, string) string{
		"console": func(t *testing.T, attr *syscall.SysProcAttr, root string) string {
			c := startConsole(t, attr, root, "--sweep-interval", "100ms")
			c.await("sweep done", 4)
			return c.stop()
		},
		"json": func(t *testing.T, attr *syscall.SysProcAttr, root string) string {
			w := startWatchAs(t, attr, root, "--sweep-interval", "100ms")
			w.sweeps(2)
			w.stop(syscall.SIGTERM)
			var log strings.Builder
			for _, e := range w.all("", "") {
				log.WriteString(e.line)
			}
			return log.String()
		},
		"prune": func(t *testing.T, attr *syscall.SysProcAttr, root string) string {
			o := runAs(t, attr, "prune", "--root", root, "--log-level", "debug")
			mustBePrintable(t, "what prune printed", o.stdout)
			return o.stderr
		},
	} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			root := runtimeRoot(t)
			s := newSpawner(t, root)
			names := wildNames()
			for i, name := range names {
				text := daemondirtest.Sidecar(ago(stale), time.Time{})
				if i%3 == 0 {
					text = text[:len(text)/2]
				}
				s.leave(name, text, "")
				// In the way of a removal, for all but root.
				if i%3 == 1 {
					sealed := filepath.Join(s.dir(name), "sealed "+names[0]+names[6])
					noError(t, os.Mkdir(sealed, 0o755))
					noError(t, os.WriteFile(filepath.Join(sealed, "log "+names[4]), nil, 0o644))
				}
			}
			attr := ordinaryUser(t, root)
			sealed, err := filepath.Glob(filepath.Join(root, "*", "sealed *"))
			if err != nil || len(sealed) == 0 {
				t.Fatal("nothing is sealed", err)
			}
			for _, dir := range sealed {
				noError(t, os.Chmod(dir, 0))
			}
			t.Cleanup(func() { chmodBelow(root, 0o755) })
			log := start(t, attr, root)
			mustBePrintable(t, "the log", log)
			if !strings.Contains(log, "permission denied") {
				t.Errorf("it does not say what was in the way: ... %q", tail(log, 300))
			}
		})
	}
}

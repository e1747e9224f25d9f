package integration

// A root in which everything is wrong that a file system allows to be wrong.

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// Whoever may write to the root must not be able to stop the collector, to make it eat
// memory, to write into its log, or to lead it to anything outside the root; and the
// others in that root must not notice him.
func TestHostileRoot(t *testing.T) {
	t.Parallel()
	h := newHostile(t)
	h.fill()
	h.mustBeListed(t)
	w := startWatch(t, h.root, "--stale-after", "500ms", "--sweep-interval", "50ms")
	for i := range 3 {
		h.mustServe(w, fmt.Sprint("ordinary-", i))
	}
	h.mustBeServed(t)
	w.sweeps(3)
	h.mustServe(w, "ordinary-after")
	mustBeSmall(t, w.cmd.Process)
	w.stop(syscall.SIGTERM)
	h.mustBeUnharmed(t)
	h.mustBeListed(t)
	// Two files, three dirs.
	if e := w.next("daemon.removed", `new\nline`); e.number("files") != 5 {
		t.Errorf("want 5 files, whatever their names: %s", e.line)
	}
	for _, e := range w.all("sidecar.invalid", "") {
		kind, ok := strings.CutPrefix(e.daemon, "sidecar-")
		if ok && !strings.HasPrefix(kind, "mode") && e.reason != "sidecar_not_regular" {
			t.Errorf("want sidecar_not_regular: %s", e.line)
		}
	}
	for kind, most := range map[string]int{"daemon.kept": 1, "sidecar.invalid": 1} {
		told := make(map[string]int)
		for _, e := range w.all(kind, "") {
			if told[e.daemon]++; told[e.daemon] > most {
				t.Errorf("said more than once: %s", e.line)
			}
		}
	}
}

// The same for one pass, and for the log that is read on a terminal.
func TestHostileRootOnTheConsole(t *testing.T) {
	t.Parallel()
	notUnderRace(t)
	t.Run("watch", func(t *testing.T) {
		t.Parallel()
		h := newHostile(t)
		h.fill()
		c := startConsole(t, &syscall.SysProcAttr{}, h.root, "--sweep-interval", "50ms")
		h.mustBeServed(t)
		c.await("sidecar cannot be used", 1)
		mustBeSmall(t, c.cmd.Process)
		mustBePrintable(t, "the log", c.stop())
		h.mustBeUnharmed(t)
	})
	t.Run("prune", func(t *testing.T) {
		t.Parallel()
		h := newHostile(t)
		h.fill()
		o := run(t, "prune", "--root", h.root, "--log-level", "debug", "--log-format", "console")
		mustBePrintable(t, "what prune printed", o.stdout)
		mustBePrintable(t, "the log of prune", o.stderr)
		h.mustBeServed(t)
		h.mustBeUnharmed(t)
	})
}

package integration

// What stderr is given when it is the systemd journal's.

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// journalStream is what systemd sets JOURNAL_STREAM to, if f is its journal's
// (systemd.exec(5)): device and inode. Here f is a pipe or a file.
func journalStream(t *testing.T, f *os.File) string {
	t.Helper()
	var st unix.Stat_t
	noError(t, unix.Fstat(int(f.Fd()), &st))
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// stderrWith returns the stderr of a watch over a stale dir and one with a broken sidecar,
// which ends by itself.
func stderrWith(t *testing.T, stream func(f *os.File) string, args ...string) string {
	t.Helper()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.leave("broken", []byte("{"+secret), "")
	r, w, err := os.Pipe()
	noError(t, err)
	defer r.Close()
	cmd := startTo(t, w, func(cmd *exec.Cmd) {
		cmd.Env = append(os.Environ(), "JOURNAL_STREAM="+stream(w))
	}, append([]string{"watch", "--root", root, "--sweep-interval", "50ms"}, args...)...)
	w.Close()
	var all daemondirtest.Log
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		_, _ = io.Copy(&all, r)
	}()
	daemondirtest.Eventually(t, "the broken sidecar is logged", func() bool { return strings.Contains(all.String(), "sidecar cannot be used") })
	noError(t, cmd.Process.Signal(syscall.SIGTERM))
	if code := waitFor(t, cmd); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	<-reading
	checkSecrets(t, "stderr", all.String())
	return all.String()
}

// Under the journal each line begins with its priority (sd-daemon(3)), and is the same behind
// it. On the console that is all of the level, and the journal has the time.
func TestJournalGetsPriorities(t *testing.T) {
	t.Parallel()
	match := func(f *os.File) string { return journalStream(t, f) }
	of := map[string]string{"<7>": "debug", "<6>": "info", "<4>": "warn", "<3>": "error"}
	text := stderrWith(t, match, "--log-level", "debug")
	seen := make(map[string]bool)
	for line := range strings.Lines(text) {
		mark, rest := line[:min(3, len(line))], line[min(3, len(line)):]
		e, err := parseEvent([]byte(rest), false)
		if err != nil || of[mark] != e.level {
			t.Errorf("%v, level %q: %q", err, e.level, line)
		}
		seen[mark] = true
	}
	if len(seen) != 3 { // nothing is an error
		t.Errorf("the marks are %v:\n%s", seen, text)
	}

	text = stderrWith(t, match, "--log-format", "console")
	for _, line := range []string{`<6>watching .*`, `<4>sidecar cannot be used; the dir is kept daemon=broken .*`, `<6>stopped .*`} {
		if !regexp.MustCompile(`(?m)^` + line + `$`).MatchString(text) {
			t.Errorf("no line %s in\n%s", line, text)
		}
	}

	// The error that ends a run, and what follows it.
	r, w, err := os.Pipe()
	noError(t, err)
	defer r.Close()
	cmd := startTo(t, w, func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), "JOURNAL_STREAM="+match(w)) }, "watch", "--stale-after", "soon")
	w.Close()
	if code := waitFor(t, cmd); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	last, err := io.ReadAll(r)
	noError(t, err)
	if !regexp.MustCompile(`^<3>runtimegc: .*soon.*\n<3>Run .*\n$`).Match(last) {
		t.Errorf("the error is %q", last)
	}
}

// JOURNAL_STREAM is inherited by whatever a service starts: only if it names what stderr is
// now, is that the journal's. A log file never is.
func TestOthersGetNoPriorities(t *testing.T) {
	t.Parallel()
	log, err := os.Create(t.TempDir() + "/log")
	noError(t, err)
	defer log.Close()
	for name, stream := range map[string]func(f *os.File) string{
		"none":           func(*os.File) string { return "" },
		"another inode":  func(f *os.File) string { return journalStream(t, f) + "1" },
		"another device": func(f *os.File) string { return "1" + journalStream(t, f) },
		"malformed":      func(*os.File) string { return "journal" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for line := range strings.Lines(stderrWith(t, stream)) {
				if _, err := parseEvent([]byte(line), false); err != nil {
					t.Errorf("%v: %s", err, line)
				}
			}
		})
	}
	root := runtimeRoot(t)
	cmd := startTo(t, log, func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), "JOURNAL_STREAM="+journalStream(t, log)) },
		"prune", "--root", root+"/none", "--log-file", log.Name())
	if code := waitFor(t, cmd); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	text, err := os.ReadFile(log.Name())
	noError(t, err)
	if e, err := parseEvent(text, false); err != nil || e.event != "root.missing" {
		t.Errorf("%v: the log file has %q", err, text)
	}
}

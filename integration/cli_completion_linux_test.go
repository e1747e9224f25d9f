package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// At the prompt of a bash that has no bash-completion package, Tab completes what is typed, and
// nothing else appears there.
func TestTabInBash(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash")
	}
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("web-1", stale)
	s.dead("db", stale)
	script := filepath.Join(t.TempDir(), "completion.bash")
	noError(t, os.WriteFile(script, []byte(run(t, "completion", "bash").must(t).stdout), 0o600))
	for _, row := range []struct{ typed, want string }{
		{"runtimegc li\t", "runtimegc list "},
		{"runtimegc list --root " + root + " we\t", " web-1 "},
		{"runtimegc list --root=" + root + " we\t", " web-1 "},
		{"runtimegc list --state dead,al\t", "--state dead,alive "},
		{"runtimegc list --state=dead,al\t", "--state=dead,alive "},
		{"runtimegc list --root " + root[:len(root)-2] + "\t", root + "/"},
		{"runtimegc list --root=" + root[:len(root)-2] + "\t", "=" + root + "/"},
	} {
		term := newTerminal(t)
		noError(t, unix.IoctlSetWinsize(int(term.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 1000}))
		cmd := exec.Command(bash, "--noprofile", "--norc", "-i")
		cmd.Env = append(os.Environ(), "PS1=ready> ", "INPUTRC=/dev/null", "TERM=dumb", "HISTFILE=",
			"PATH="+filepath.Dir(linkedBinary(t))+string(os.PathListSeparator)+os.Getenv("PATH"))
		cmd.Stdin, cmd.Stdout, cmd.Stderr = term.slave, term.slave, term.slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
		noError(t, cmd.Start())
		t.Cleanup(func() {
			cmd.Process.Kill() // no error that matters: it may have ended
			cmd.Wait()
		})
		go term.read()
		term.master.WriteString("source " + script + "\n")
		daemondirtest.Eventually(t, "the second prompt", func() bool { return strings.Count(term.log.String(), "ready> ") >= 2 })
		term.master.WriteString(row.typed)
		line := func() string {
			text := term.log.String()
			return text[strings.LastIndex(text, "ready> "):]
		}
		daemondirtest.Eventually(t, row.typed+" becomes "+row.want, func() bool { return strings.HasSuffix(line(), row.want) })
		if strings.Contains(line(), "\n") || strings.Contains(line(), "not found") {
			t.Errorf("%q: %q", row.typed, line())
		}
	}
}

// linkedBinary returns the path of the program under its own name.
func linkedBinary(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "runtimegc")
	noError(t, os.Symlink(binary(t), name))
	return name
}

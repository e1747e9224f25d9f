package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// At the prompt of each shell, Tab completes what is typed, and nothing else appears there. The
// scripts are where cmd/runtimegc/REFERENCE.md has them put; the bash has no bash-completion package.
func TestTab(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("web-1", stale)
	s.dead("db", stale)
	typed := []struct{ keys, want string }{
		{"runtimegc li\t", "runtimegc list "},
		{"runtimegc list --root " + root + " we\t", " web-1 "},
		{"runtimegc list --root=" + root + " we\t", " web-1 "},
		{"runtimegc list --state dead,al\t", "--state dead,alive "},
		{"runtimegc list --state=dead,al\t", "--state=dead,alive "},
		{"runtimegc list --root " + root[:len(root)-2] + "\t", root + "/"},
		{"runtimegc list --root=" + root[:len(root)-2] + "\t", "=" + root + "/"},
	}
	for _, shell := range []struct {
		name   string
		script string // where it is in the home directory
		rc     string // what else is there, and
		text   string // what that says; without it, this is typed first
		args   []string
	}{
		{"bash", ".runtimegc-completion.bash", "",
			"PS1='ready> '; source ~/.runtimegc-completion.bash", []string{"--noprofile", "--norc", "-i"}},
		{"zsh", "functions/_runtimegc", ".zshrc",
			"PS1='ready> '; unsetopt prompt_sp prompt_cr; fpath=(~/functions $fpath); autoload -U compinit; compinit -D", []string{"-d", "-i"}},
		{"fish", ".config/fish/completions/runtimegc.fish", ".config/fish/config.fish",
			"function fish_prompt; echo -n 'ready> '; end\nfunction fish_greeting; end\nset -g fish_autosuggestion_enabled 0", []string{"-i"}},
	} {
		t.Run(shell.name, func(t *testing.T) {
			t.Parallel()
			path, err := exec.LookPath(shell.name)
			if err != nil {
				t.Skip(shell.name + " is not installed")
			}
			home := t.TempDir()
			write := func(name, text string) {
				noError(t, os.MkdirAll(filepath.Dir(filepath.Join(home, name)), 0o700))
				noError(t, os.WriteFile(filepath.Join(home, name), []byte(text+"\n"), 0o600))
			}
			write(shell.script, run(t, "completion", shell.name).must(t).stdout)
			if shell.rc != "" {
				write(shell.rc, shell.text)
			}
			term := newTerminal(t)
			noError(t, unix.IoctlSetWinsize(int(term.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 1000}))
			cmd := exec.Command(path, shell.args...)
			cmd.Env = append(os.Environ(), "HOME="+home, "ZDOTDIR="+home, "XDG_CONFIG_HOME="+filepath.Join(home, ".config"),
				"XDG_DATA_HOME="+filepath.Join(home, ".local"), "TMPDIR="+home, "INPUTRC=/dev/null", "TERM=dumb", "HISTFILE=",
				"PATH="+filepath.Dir(linkedBinary(t))+string(os.PathListSeparator)+os.Getenv("PATH"))
			cmd.Dir = home
			cmd.Stdin, cmd.Stdout, cmd.Stderr = term.slave, term.slave, term.slave
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
			noError(t, cmd.Start())
			t.Cleanup(func() {
				cmd.Process.Kill() // no error that matters: it may have ended
				cmd.Wait()
			})
			go term.read()
			if shell.rc == "" {
				term.master.WriteString(shell.text + "\n")
			}
			for i, row := range typed {
				term.master.WriteString(fmt.Sprintf("\x15echo 'ne''xt' %d\n", i)) // what was typed before is deleted
				next := fmt.Sprintf("next %d\r\n", i)
				daemondirtest.Eventually(t, "the prompt", func() bool {
					_, after, ok := strings.Cut(term.log.String(), next)
					return ok && strings.Contains(after, "ready> ")
				})
				term.master.WriteString(row.keys)
				line := func() string {
					text := term.log.String()
					return text[strings.LastIndex(text, "ready> "):]
				}
				daemondirtest.Eventually(t, row.keys+" becomes "+row.want, func() bool { return strings.HasSuffix(line(), row.want) })
				if strings.Contains(line(), "\n") || strings.Contains(line(), "not found") {
					t.Errorf("%q: %q", row.keys, line())
				}
			}
		})
	}
}

// linkedBinary returns the path of the program under its own name.
func linkedBinary(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "runtimegc")
	noError(t, os.Symlink(binary(t), name))
	return name
}

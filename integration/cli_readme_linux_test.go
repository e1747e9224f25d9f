package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"runtimegc/registry/daemondir/daemondirtest"
)

// What the README shows works as it is written: its blocks are typed into a shell, and
// the lines it promises come.
func TestREADME(t *testing.T) {
	if raceEnabled {
		t.Skip("what it runs is built without the race detector")
	}
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("the README's commands are for bash")
	}
	text, err := os.ReadFile("../README.md")
	if os.IsNotExist(err) {
		t.Skip("run outside of the repository")
	}
	if err != nil {
		t.Fatal(err)
	}
	demo := filepath.Join(t.TempDir(), "demo")
	readme := strings.ReplaceAll(string(text), "/tmp/runtimegc-demo", demo)
	if os.Getenv("GCTEST_BINARY") != "" {
		// An ordinary user's run without a Go toolchain of its own.
		readme = strings.ReplaceAll(readme, "go run ./cmd/runtimegc", binary(t))
	}
	commands := fenced(readme, "sh")
	promised := fenced(readme, "text")
	if len(commands) != 5 || len(promised) != 3 {
		t.Fatalf("the README has %d blocks of commands and %d of output; this test knows 5 and 3", len(commands), len(promised))
	}
	watchDefault, watchDemo, spawn, look := commands[0], commands[2], commands[3], commands[4]

	t.Run("watch", func(t *testing.T) {
		sh := startShell(t, bash, watchDefault, "XDG_DATA_HOME="+t.TempDir())
		daemondirtest.Eventually(t, "the default root is waited for", func() bool {
			return strings.Contains(sh.String(), "waiting for the runtime root")
		})
	})
	t.Run("try it", func(t *testing.T) {
		watch := startShell(t, bash, strings.TrimSuffix(watchDemo, "\n")+" --log-format console", "NO_COLOR=1")
		daemondirtest.Eventually(t, "the watch has started", func() bool { return strings.Contains(watch.String(), "watching") })
		user := startShell(t, bash, spawn+"sleep 1\n"+look+"echo finished\n")
		daemondirtest.Eventually(t, "the session has been typed", func() bool { return strings.Contains(user.String(), "finished") })
		for _, line := range strings.Split(strings.TrimSpace(promised[1]), "\n") {
			if fields := strings.Fields(line); !strings.Contains(user.String(), strings.Join(fields[:1], " ")) ||
				fields[0] == "hello" && !regexp.MustCompile(`hello +dead +[0-9]+ +- +(now|[0-9]+s ago) +(now|[0-9]+s) +it has not been dead for long enough`).MatchString(user.String()) {
				t.Errorf("list does not print %q but\n%s", line, user.String())
			}
		}
		if !strings.Contains(user.String(), "1 scanned, 0 would be removed") {
			t.Errorf("prune --dry-run printed\n%s", user.String())
		}
		for _, line := range strings.Split(strings.TrimSpace(promised[0]+promised[2]), "\n") {
			want := skeleton(line)
			daemondirtest.Eventually(t, "the log says "+want, func() bool {
				for _, line := range strings.Split(watch.String(), "\n") {
					if skeleton(line) == want {
						return true
					}
				}
				return false
			})
		}
		if _, err := os.Stat(filepath.Join(demo, "runtime", "hello")); !os.IsNotExist(err) {
			t.Errorf("the dir is still there: %v", err)
		}
	})
}

// fenced returns the fenced blocks of that language in a Markdown text.
func fenced(text, language string) []string {
	var blocks []string
	for _, match := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, match[1])
	}
	return blocks
}

// skeleton is what two console lines about the same thing have in common: all but the
// time of day and the values.
func skeleton(line string) string {
	_, line, _ = strings.Cut(line, " ")
	return regexp.MustCompile(`=("[^"]*"|\S+)`).ReplaceAllString(line, "=")
}

// startShell starts a shell in the root of the repository, and returns its output.
func startShell(t *testing.T, bash, script string, env ...string) *daemondirtest.Log {
	t.Helper()
	out := new(daemondirtest.Log)
	cmd := exec.Command(bash, "-c", script)
	cmd.Dir = ".."
	cmd.Env = append(goEnv(t.TempDir()), env...)
	cmd.Stdout, cmd.Stderr = out, out
	// A group of its own, to end what "go run" has started as well.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	noError(t, cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait()
			close(ended)
		}()
		daemondirtest.Eventually(t, "the shell ends", func() bool {
			select {
			case <-ended:
				return true
			default:
				return false
			}
		})
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	})
	return out
}

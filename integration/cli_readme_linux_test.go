package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// What the README shows works as it is written: its blocks are typed into a shell, and
// the lines it promises come.
func TestREADME(t *testing.T) {
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
	if os.Getenv("RUNTIMEGC_BINARY") != "" {
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
		eventually(t, "the default root is waited for", func() bool {
			return strings.Contains(sh.output(), "waiting for the runtime root")
		})
	})
	t.Run("try it", func(t *testing.T) {
		watch := startShell(t, bash, strings.TrimSuffix(watchDemo, "\n")+" --log-format console", "NO_COLOR=1")
		eventually(t, "the watch has started", func() bool { return strings.Contains(watch.output(), "watching") })
		user := startShell(t, bash, spawn+"sleep 1\n"+look+"echo finished\n")
		eventually(t, "the session has been typed", func() bool { return strings.Contains(user.output(), "finished") })
		for _, line := range strings.Split(strings.TrimSpace(promised[1]), "\n") {
			if fields := strings.Fields(line); !strings.Contains(user.output(), strings.Join(fields[:1], " ")) ||
				fields[0] == "hello" && !regexp.MustCompile(`hello +dead +[0-9]+ +- +(now|[0-9]+s ago) +(now|[0-9]+s) +it was alive too recently`).MatchString(user.output()) {
				t.Errorf("list does not print %q but\n%s", line, user.output())
			}
		}
		if !strings.Contains(user.output(), "1 scanned, 0 would be removed") {
			t.Errorf("prune --dry-run printed\n%s", user.output())
		}
		for _, line := range strings.Split(strings.TrimSpace(promised[0]+promised[2]), "\n") {
			want := skeleton(line)
			eventually(t, "the log says "+want, func() bool {
				for _, line := range strings.Split(watch.output(), "\n") {
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

// shell is a running shell, in the root of the repository.
type shell struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (s *shell) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *shell) output() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

func startShell(t *testing.T, bash, script string, env ...string) *shell {
	t.Helper()
	s := &shell{}
	cmd := exec.Command(bash, "-c", script)
	cmd.Dir = ".."
	cmd.Env = append(goEnv(t.TempDir()), env...)
	cmd.Stdout, cmd.Stderr = s, s
	// A group of its own, to end what "go run" has started as well.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait()
			close(ended)
		}()
		eventually(t, "the shell ends", func() bool {
			select {
			case <-ended:
				return true
			default:
				return false
			}
		})
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	})
	return s
}

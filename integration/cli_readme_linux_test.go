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
	if len(commands) != 8 || len(promised) != 4 {
		t.Fatalf("the README has %d blocks of commands and %d of output; this test knows 8 and 4", len(commands), len(promised))
	}
	watchDefault, install, makeService, uninstall := commands[0], commands[2], commands[3], commands[4]
	watchDemo, spawn, look := commands[5], commands[6], commands[7]
	logBefore, answers, logAfter := promised[1], promised[2], promised[3]

	t.Run("watch", func(t *testing.T) {
		sh := startShell(t, bash, watchDefault, "XDG_DATA_HOME="+t.TempDir())
		daemondirtest.Eventually(t, "the default root is waited for", func() bool {
			return strings.Contains(sh.String(), "waiting for the runtime root")
		})
	})
	t.Run("install", func(t *testing.T) {
		if os.Getenv("GCTEST_BINARY") != "" {
			t.Skip("there is no go command")
		}
		// systemctl is not asked to: cli_systemd_linux_test.go has real ones.
		home, bin, stubs := t.TempDir(), t.TempDir(), t.TempDir()
		noError(t, os.WriteFile(filepath.Join(stubs, "systemctl"), []byte("#!/bin/sh\n"), 0o755))
		find := "find ~ " + bin + " -name 'runtimegc*' -type f\n" // the go command leaves files of its own
		sh := startShell(t, bash, "set -e\n"+install+makeService+find+"echo ALL OF IT\n"+uninstall+find+"echo finished\n",
			"HOME="+home, "GOBIN="+bin, "GOCACHE="+goEnvOf(t, "GOCACHE"), "GOMODCACHE="+goEnvOf(t, "GOMODCACHE"), "PATH="+strings.Join([]string{bin, stubs, os.Getenv("PATH")}, ":"))
		daemondirtest.Eventually(t, "it is installed and removed", func() bool { return strings.Contains(sh.String(), "finished") })
		there, left, _ := strings.Cut(sh.String(), "ALL OF IT\n")
		for _, file := range []string{"/runtimegc\n", "/user/runtimegc.service\n", "/completions/runtimegc\n", "runtimegc version "} {
			if !strings.Contains(there, file) {
				t.Errorf("no %q:\n%s", file, there)
			}
		}
		if left != "finished\n" {
			t.Errorf("uninstalled, there is still\n%s", left)
		}
	})
	t.Run("try it", func(t *testing.T) {
		watch := startShell(t, bash, strings.TrimSuffix(watchDemo, "\n")+" --log-format console", "NO_COLOR=1")
		daemondirtest.Eventually(t, "the watch has started", func() bool { return strings.Contains(watch.String(), "watching") })
		user := startShell(t, bash, spawn+"sleep 1\n"+look+"echo finished\n")
		daemondirtest.Eventually(t, "the session has been typed", func() bool { return strings.Contains(user.String(), "finished") })
		// Line by line, but for blanks and what changes from one time to the next.
		shown := make(map[string]bool)
		for line := range strings.Lines(user.String()) {
			shown[gist(line)] = true
		}
		for line := range strings.Lines(answers) {
			if !shown[gist(line)] {
				t.Errorf("%q is not among what list and prune print:\n%s", line, user.String())
			}
		}
		for _, line := range strings.Split(strings.TrimSpace(logBefore+logAfter), "\n") {
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

// goEnvOf returns a setting of the go command.
func goEnvOf(t *testing.T, name string) string {
	t.Helper()
	cmd := exec.Command("go", "env", name)
	cmd.Env = goEnv(t.TempDir())
	out, err := cmd.Output()
	noError(t, err)
	return strings.TrimSpace(string(out))
}

// gist returns a line without what changes from one time to the next: numbers and times.
func gist(line string) string {
	// If the shell is not quick to wait for its child, that is a zombie, and how it ended not known.
	line = strings.NewReplacer(" (killed by SIGTERM)", "", "(zombie)", "(exited)").Replace(line)
	line = regexp.MustCompile(`\d[\d.:]*(ms|us|[smhd])?`).ReplaceAllString(line, "N")
	line = strings.NewReplacer("now", "N", "N ago", "N", "in N", "N").Replace(line)
	return strings.Join(strings.Fields(line), " ")
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
	line = regexp.MustCompile(` (pid=\d+|signal=SIGTERM) stale_at=`).ReplaceAllString(line, " stale_at=") // see gist
	line = strings.Replace(line, "reason=zombie", "reason=exited", 1)
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

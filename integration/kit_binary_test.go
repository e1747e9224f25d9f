package integration

// The binary under test, and one run of it to its end.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"runtimegc/registry/daemondir/daemondirtest"
)

// shared is what all tests use and is made at most once per run.
var shared sharedFiles

type sharedFiles struct {
	mu     sync.Mutex // guards all below
	dir    string
	binary string
	err    error // of the first build; not tried twice
	image  string
}

// folder returns a directory that lives as long as the run. Other users may enter it.
// The caller holds mu.
func (s *sharedFiles) folder() (string, error) {
	if s.dir != "" {
		return s.dir, nil
	}
	dir, err := os.MkdirTemp("", "runtimegc-integration-")
	if err != nil {
		return "", err
	}
	s.dir = dir
	return dir, os.Chmod(dir, 0o755)
}

func (s *sharedFiles) remove() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir != "" {
		os.RemoveAll(s.dir)
	}
}

// binary returns the path of the built program.
func binary(t testing.TB) string {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.binary == "" && shared.err == nil {
		shared.binary, shared.err = shared.build()
	}
	if shared.err != nil {
		t.Fatalf("no binary to test: %v", shared.err)
	}
	return shared.binary
}

func (s *sharedFiles) build() (string, error) {
	if given := os.Getenv("RUNTIMEGC_BINARY"); given != "" {
		return filepath.Abs(given)
	}
	dir, err := s.folder()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "runtimegc")
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	// Without VCS stamping: git refuses a repository of another user.
	args := []string{"build", "-buildvcs=false", "-o", path}
	if raceEnabled {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "runtimegc/cmd/runtimegc")...)
	cmd.Env = goEnv(dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build (RUNTIMEGC_BINARY can name a prebuilt one): %w\n%s", err, out)
	}
	return path, nil
}

// goEnv is the environment of the go command: with a build cache in scratch, should
// there be no place for one.
func goEnv(scratch string) []string {
	env := os.Environ()
	cache, err := os.UserCacheDir()
	if err == nil {
		err = os.MkdirAll(cache, 0o700)
	}
	if err != nil && os.Getenv("GOCACHE") == "" {
		env = append(env, "GOCACHE="+filepath.Join(scratch, "gocache"))
	}
	return env
}

// outcome is what came of one run of the binary.
type outcome struct {
	stdout, stderr string
	code           int
}

// run runs the binary to its end. No output of any run may hold a secret.
func run(t *testing.T, args ...string) outcome {
	t.Helper()
	return runWith(t, func(*exec.Cmd) {}, args...)
}

// runAs is run with attributes for the new process, such as another user.
func runAs(t *testing.T, attr *syscall.SysProcAttr, args ...string) outcome {
	t.Helper()
	return runWith(t, func(cmd *exec.Cmd) { cmd.SysProcAttr = attr }, args...)
}

// runWith is run with the command as prepare leaves it.
func runWith(t *testing.T, prepare func(*exec.Cmd), args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(t), args...)
	cmd.Dir = os.TempDir()
	prepare(cmd)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("runtimegc %q: %v", args, err)
	}
	if ctx.Err() != nil {
		t.Fatalf("runtimegc %q did not end within %v; stderr:\n%s", args, patience, &stderr)
	}
	o := outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	checkSecrets(t, "stdout", o.stdout)
	checkSecrets(t, "stderr", o.stderr)
	if strings.Contains(o.stderr, "DATA RACE") {
		t.Errorf("runtimegc %q: data race:\n%s", args, o.stderr)
	}
	return o
}

// must fails the test unless the run ended with exit code 0.
func (o outcome) must(t *testing.T) outcome {
	t.Helper()
	if o.code != 0 {
		t.Fatalf("exit code %d, want 0; stderr:\n%s\nstdout:\n%s", o.code, o.stderr, o.stdout)
	}
	return o
}

// patience is how long anything may take before a test gives up on it.
const patience = daemondirtest.Patience

// noError ends the test if there is one.
func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// secret stands in every sidecar that the tests write. No output may hold it.
const secret = daemondirtest.Secret

func checkSecrets(t testing.TB, where, text string) {
	t.Helper()
	if i := strings.Index(text, secret); i >= 0 {
		t.Errorf("a sidecar's content is in %s: ...%s", where, text[max(0, i-80):min(len(text), i+80)])
	}
}

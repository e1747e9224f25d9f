package integration

// The binary under test.

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
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
	if given := os.Getenv("GCTEST_BINARY"); given != "" {
		return filepath.Abs(given)
	}
	dir, err := s.folder()
	if err != nil {
		return "", err
	}
	var flags []string
	if raceEnabled {
		flags = append(flags, "-race")
	}
	if portable {
		flags = append(flags, "-tags", "portable")
	}
	return goBuild(dir, "runtimegc/cmd/runtimegc", flags...)
}

// goBuild builds a program into dir, and returns its path.
func goBuild(dir, program string, flags ...string) (string, error) {
	path := filepath.Join(dir, filepath.Base(program))
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	// Without VCS stamping: git refuses a repository of another user.
	args := append([]string{"build", "-buildvcs=false", "-o", path}, flags...)
	cmd := exec.Command("go", append(args, program)...)
	cmd.Env = goEnv(dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build (GCTEST_BINARY can name a prebuilt one): %w\n%s", err, out)
	}
	return path, nil
}

// ownProgram returns the path of the tests' own binary.
func ownProgram(t testing.TB) string {
	t.Helper()
	self, err := os.Executable()
	noError(t, err)
	return self
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

package integration

// System calls that fail as they do on file systems that are not to be had here.

import (
	"os/exec"
	"testing"
)

// injecting returns the command that runs another one, and has a system call fail whenever
// it is about one of the paths: `strace -e inject=INJECT`. The other command is a child of
// the caller. Without strace, it skips the test.
func injecting(t *testing.T, inject string, paths ...string) []string {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	by := []string{strace, "-f", "-D", "-qqq", "-o", "/dev/null", "-e", "inject=" + inject}
	for _, path := range paths {
		by = append(by, "-P", path)
	}
	if out, err := exec.Command(by[0], append(by[1:], "/bin/true")...).CombinedOutput(); err != nil {
		t.Skipf("strace: %v %s", err, out)
	}
	return by
}

// runBy is run by way of a command that ends by executing its arguments.
func runBy(t *testing.T, by []string, args ...string) outcome {
	t.Helper()
	return runWith(t, func(cmd *exec.Cmd) {
		cmd.Args = append(by, cmd.Args...)
		cmd.Path = by[0]
	}, args...)
}

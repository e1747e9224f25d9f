package integration

// One run of the binary to its end.

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

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

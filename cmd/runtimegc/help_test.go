package main

import (
	"bytes"
	"os"
	"regexp"
	"testing"

	"runtimegc/registry/daemondir"
)

// allReasons are the codes in the source of package prune.
func allReasons(t *testing.T) (reasons []string) {
	t.Helper()
	source, err := os.ReadFile("../../prune/policy.go")
	if err != nil {
		t.Skip("the sources are not here")
	}
	for _, match := range regexp.MustCompile(`Reason = "(\w+)"`).FindAllSubmatch(source, -1) {
		reasons = append(reasons, string(match[1]))
	}
	for p := daemondir.ProblemPermission; p <= daemondir.ProblemIO; p++ {
		reasons = append(reasons, p.String())
	}
	if len(reasons) < 25 {
		t.Fatalf("found only %q", reasons)
	}
	return reasons
}

// The help explains every reason.
func TestReasonsTopic(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"help", "reasons"}, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d, %s", code, &stderr)
	}
	for _, reason := range allReasons(t) {
		if !regexp.MustCompile("(?m)^ *" + reason + " ").Match(stdout.Bytes()) {
			t.Errorf("it does not explain %s", reason)
		}
	}
}

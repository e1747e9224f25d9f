package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"runtimegc/registry/daemondir"
)

// Every reason there is, is explained by its topic, in help and in the man page.
func TestReasonsTopic(t *testing.T) {
	source, err := os.ReadFile("../../prune/policy.go")
	if err != nil {
		t.Skip("the sources are not here")
	}
	var reasons []string
	for _, match := range regexp.MustCompile(`Reason = "(\w+)"`).FindAllSubmatch(source, -1) {
		reasons = append(reasons, string(match[1]))
	}
	for p := daemondir.ProblemPermission; p <= daemondir.ProblemIO; p++ {
		reasons = append(reasons, p.String())
	}
	if len(reasons) < 25 {
		t.Fatalf("found only %q", reasons)
	}
	for _, args := range []string{"help reasons", "man"} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), strings.Fields(args), &stdout, &stderr); code != 0 {
			t.Fatalf("%s: exit code %d, %s", args, code, &stderr)
		}
		for _, reason := range reasons {
			// md2man sets bold as \fB...\fP.
			if !regexp.MustCompile(`(?m)^ *(\\fB)?` + reason + `( |\\fP$)`).Match(stdout.Bytes()) {
				t.Errorf("%s does not tell of %s", args, reason)
			}
		}
	}
}

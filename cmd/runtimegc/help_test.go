package main

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"runtimegc/prune"
)

// The help explains every reason.
func TestReasonsTopic(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"help", "reasons"}, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d, %s", code, &stderr)
	}
	for _, info := range prune.Reasons() {
		if !regexp.MustCompile("(?m)^ *" + string(info.Reason) + " +" + regexp.QuoteMeta(info.Words) + "$").Match(stdout.Bytes()) {
			t.Errorf("it does not explain %s", info.Reason)
		}
	}
}

// The README has the table of reasons as the program has it.
func TestREADMEHasTheReasons(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Skip("the sources are not here")
	}
	var want strings.Builder
	group := ""
	for _, info := range prune.Reasons() {
		first := ""
		if info.Group != group {
			group, first = info.Group, info.Group
		}
		fmt.Fprintf(&want, "| %s | `%s` | %s |\n", first, info.Reason, info.Words)
	}
	if !bytes.Contains(readme, []byte(want.String())) {
		t.Errorf("the README's table of reasons is not\n%s", &want)
	}
}

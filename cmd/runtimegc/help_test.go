package main

import (
	"bytes"
	"regexp"
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

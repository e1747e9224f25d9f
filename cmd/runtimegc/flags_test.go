package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// Choices add up; a wrong one is refused together with those it was given with, and the
// error has all that are possible.
func TestChoices(t *testing.T) {
	c := choices{of: []string{"a", "b", "c"}}
	for _, text := range []string{"a,b", "c"} {
		if err := c.Set(text); err != nil {
			t.Error(err)
		}
	}
	for _, wrong := range []string{"", "a,", "a,d", "A"} {
		if err := c.Set(wrong); err == nil || !strings.HasSuffix(err.Error(), "must be a, b or c") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	if want := []string{"a", "b", "c"}; !slices.Equal(c.words, want) {
		t.Errorf("got %q, want %q", c.words, want)
	}
}

// A list of states has commas in the environment as well.
func TestStatesFromEnvironment(t *testing.T) {
	t.Setenv("RUNTIMEGC_STATE", "dead,unknown")
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"list", "--root", t.TempDir()}, &stdout, &stderr); code != 0 {
		t.Errorf("exit code %d; %s", code, &stderr)
	}
}

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
		if err := c.Set(wrong); err == nil || !strings.Contains(err.Error(), "must be a, b or c") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	if want := []string{"a", "b", "c"}; !slices.Equal(c.words, want) {
		t.Errorf("got %q, want %q", c.words, want)
	}
}

// What can be off is off only if one says so, or nothing.
func TestOffOrDuration(t *testing.T) {
	for text, want := range map[string]string{
		"off": "off", "30d": "30d", "1d": "1d", "65535d": "65535d", "720h": "30d", "90m": "1h30m0s", "1ms": "1ms",
		"": "", "0": "", "0d": "", "d": "", "-1d": "", "+1d": "", "1.5d": "", "1d12h": "", "1e3d": "", "99999d": "", "0s": "", "1us": "", "-1h": "", "OFF": "", "30 d": "",
	} {
		var d offOrDuration
		switch err := d.Set(text); {
		case err != nil && (want != "" || !strings.Contains(err.Error(), "30d")):
			t.Errorf("%q: %v", text, err)
		case err == nil && d.String() != want:
			t.Errorf("%q is %s, want %q", text, d.String(), want)
		}
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

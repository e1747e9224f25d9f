package main

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestJSONHasNoControlCharacters(t *testing.T) {
	name := "a\x00\x1b\x7f\u0080\u009b\u00a0\u00e9\U0001f600"
	var out bytes.Buffer
	if err := printJSON(&out, []string{name}); err != nil {
		t.Fatal(err)
	}
	for _, r := range out.String() {
		if r != '\n' && (r < 0x20 || 0x7f <= r && r < 0xa0) {
			t.Errorf("%q has %U in it", out.String(), r)
		}
	}
	var back []string
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back[0] != name {
		t.Errorf("%q reads back as %q, %v", name, back, err)
	}
}

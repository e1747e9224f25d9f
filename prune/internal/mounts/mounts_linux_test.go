//go:build !portable

package mounts

import "testing"

func TestUnescapeOctal(t *testing.T) {
	for in, want := range map[string]string{`/a`: "/a", `/a\040b`: "/a b", `/a\134040`: `/a\040`, `\`: `\`, `/a\04`: `/a\04`, `/a\999`: `/a\999`} {
		if got := Unescape(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

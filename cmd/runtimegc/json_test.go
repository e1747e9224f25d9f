package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"runtimegc/prune"
	"runtimegc/registry/daemondir/daemondirtest"
)

func TestJSONHasNoControlCharacters(t *testing.T) {
	for _, name := range []string{"", "a\x00\x1b\x7f\u0080\u009b\u00a0\u00e9\U0001f600", "\x7f", "a\u0085"} {
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
}

// An array that is printed element by element is, to the byte, that which is printed at once.
func TestJSONArray(t *testing.T) {
	used := dead("<used> & \u2028", -time.Hour)
	used.Details, used.UsedBy, used.Ending = "a\u009bb", 7, &prune.Ending{Signal: "SIGKILL"}
	all := []prune.Row{dead("a", time.Hour), used, dead("no UTF-8 \xff\n\x7f", -time.Hour), {}}
	for n := range len(all) + 1 {
		rows := all[:n]
		var whole, parts bytes.Buffer
		if err := printJSON(&whole, rows); err != nil {
			t.Fatal(err)
		}
		array := newJSONArray(&parts)
		for _, r := range rows {
			if err := array.add(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := array.end(); err != nil {
			t.Fatal(err)
		}
		if parts.String() != whole.String() {
			t.Errorf("%d rows: got\n%s\nwant\n%s", n, &parts, &whole)
		}
	}
}

// writerFunc is called for each write.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// manyDead makes a root whose JSON takes several writes.
func manyDead(t *testing.T) (root string) {
	root = t.TempDir()
	for i := range 1000 {
		daemondirtest.MakeDead(t, root, fmt.Sprintf("web-%04d", i), time.Hour)
	}
	return root
}

// The array of list is written while the dirs are read. What interrupts it is an error, and
// leaves an array without an end.
func TestListJSONIsCut(t *testing.T) {
	root := manyDead(t)
	for _, row := range []struct {
		name string
		cut  func(interrupt func()) error // in the first write
		want string
	}{
		{"a signal", func(interrupt func()) error { interrupt(); return nil }, "context canceled"},
		{"a full disk", func(func()) error { return errors.New("no space left") }, "no space left"},
	} {
		t.Run(row.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var text, stderr bytes.Buffer
			out := writerFunc(func(p []byte) (int, error) {
				text.Write(p)
				return len(p), row.cut(cancel)
			})
			code := run(ctx, []string{"list", "--json", "--root", root}, out, &stderr)
			if code != 1 || !strings.Contains(stderr.String(), row.want) {
				t.Errorf("exit code %d: %s", code, &stderr)
			}
			if !strings.HasPrefix(text.String(), "[\n  {\n") || json.Valid(text.Bytes()) {
				t.Errorf("it looks whole: %q ... %q", text.String()[:40], text.String()[text.Len()-40:])
			}
			if rows := strings.Count(text.String(), `"name"`); rows > 500 {
				t.Errorf("%d rows were printed all the same", rows)
			}
		})
	}
}

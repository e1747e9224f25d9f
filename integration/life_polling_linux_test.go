package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"testing"
	"time"
)

// The polling collector is only worth comparing with if it does what the original
// does: the original's own three unit tests, and what a refresh makes of a sidecar.
func TestPollingCollector(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	now := time.UnixMilli(20_000)
	s.leave("stale", []byte(`{"command": "python", "spawned_at_unix_ms": 1000, "last_seen_unix_ms": 2000}`), "999999999")
	s.leave("recent", []byte(`{"command": "python", "spawned_at_unix_ms": 1000, "last_seen_unix_ms": 19500}`), "999999999")
	s.leave("alive", []byte(`{"z": [1.50, {}, {"c": "\"]}\\", "b": []}], "last_seen_unix_ms": 1000, "a": "<&>"}`), strconv.Itoa(os.Getpid()))
	s.leave("large", benchSidecar(time.Time{}, now), strconv.Itoa(os.Getpid()))
	noError(t, os.MkdirAll(s.dir("stale")+"/logs/old", 0o755))
	noError(t, os.WriteFile(s.dir("stale")+"/logs/old/1.log", nil, 0o644))
	before := snapshot(t, s.dir("recent"))
	p := newPollingCollector(root, 5*time.Second)
	stats, err := p.pass(now)
	// What says now already is not written.
	if want := (pollingStats{scanned: 4, removed: 1, refreshed: 1}); err != nil || stats != want {
		t.Errorf("got %+v, %v, want %+v", stats, err, want)
	}
	if _, err := os.Lstat(s.dir("stale")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the dead stale dir: %v", err)
	}
	before.mustEqual(t, snapshot(t, s.dir("recent")))
	text, err := os.ReadFile(s.sidecar("alive"))
	want := "{\n  \"a\": \"<&>\",\n  \"last_seen_unix_ms\": 20000,\n  \"z\": [\n    1.50,\n    {},\n" +
		"    {\n      \"b\": [],\n      \"c\": \"\\\"]}\\\\\"\n    }\n  ]\n}"
	if err != nil || string(text) != want {
		t.Errorf("the refreshed sidecar is %q, %v, want %q", text, err, want)
	}
	// What is compared with the program in benchmarks, for some passes: each writes.
	for pass := range 3 {
		now = now.Add(7777 * time.Second)
		if stats, err = p.pass(now); err != nil || stats.refreshed != 2 {
			t.Errorf("pass %d: %+v, %v", pass, stats, err)
		}
		text, err = os.ReadFile(s.sidecar("large"))
		said, _ := decodeObject(benchSidecar(time.Time{}, now))
		if want := encodeSorted(t, said); err != nil || !bytes.Equal(text, want) {
			t.Errorf("pass %d: the refreshed sidecar is %q, %v, want %q", pass, text, err, want)
		}
	}

	// A live process counts only if it was started when the daemon was spawned.
	d := s.spawn("live")
	if !p.alive(d.pid, uint64(time.Now().UnixMilli()), true) || p.alive(d.pid, 1000, true) || !p.alive(d.pid, 0, false) {
		t.Error("a daemon that lives is judged wrongly by its start")
	}
}

// encodeSorted renders an object as the original writes it.
func encodeSorted(t *testing.T, object map[string]any) []byte {
	t.Helper()
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	noError(t, enc.Encode(object))
	return bytes.TrimSuffix(text.Bytes(), []byte("\n"))
}

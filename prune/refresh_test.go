package prune

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// A refresh changes the one number, or adds it, and nothing else of the file.
func TestRefreshChangesOneNumber(t *testing.T) {
	const ms = 1_800_000_000_123
	for _, row := range []struct{ rule, before, after string }{
		{"as the spawner writes it",
			"{\n  \"command\": \"a\",\n  \"last_seen_unix_ms\": 1700000000000,\n  \"z\": 1\n}",
			"{\n  \"command\": \"a\",\n  \"last_seen_unix_ms\": 1800000000123,\n  \"z\": 1\n}"},
		{"keys stay in their order, white space and escapes as they are",
			"{ \"z\":\t1 , \"last_seen_unix_ms\" :1700000000000 ,\"\\u0061\":\"\\u00e9\"}\n\n",
			"{ \"z\":\t1 , \"last_seen_unix_ms\" :1800000000123 ,\"\\u0061\":\"\\u00e9\"}\n\n"},
		{"a shorter number makes room",
			`{"last_seen_unix_ms": 5, "a": "b"}`, `{"last_seen_unix_ms": 1800000000123, "a": "b"}`},
		{"a longer number is padded, never cut",
			`{"last_seen_unix_ms": 18446744073709551615}`, `{"last_seen_unix_ms": 1800000000123       }`},
		{"no number yet",
			"{\n  \"spawned_at_unix_ms\": 7\n}",
			"{\n  \"spawned_at_unix_ms\": 7,\n  \"last_seen_unix_ms\": 1800000000123\n}"},
		{"nothing yet", `{}`, `{"last_seen_unix_ms": 1800000000123}`},
		{"what is no timestamp is replaced, as in the original",
			`{"last_seen_unix_ms": "yesterday"}`, `{"last_seen_unix_ms": 1800000000123}`},
		{"the last of two counts",
			`{"last_seen_unix_ms": 1, "last_seen_unix_ms": 1700000000000}`,
			`{"last_seen_unix_ms": 1, "last_seen_unix_ms": 1800000000123}`},
	} {
		t.Run(row.rule, func(t *testing.T) {
			d := daemondirtest.Make(t, t.TempDir(), "a", row.before, "")
			if err := os.Chmod(d.Sidecar(), 0o640); err != nil {
				t.Fatal(err)
			}
			before, _ := os.Stat(d.Sidecar())
			wrote, err := refresh(d.Root, entryOf(t, d), ms)
			if err != nil || !wrote {
				t.Fatalf("wrote %v, %v", wrote, err)
			}
			got := daemondirtest.ReadFile(t, d.Sidecar())
			if strings.TrimRight(got, " ") != strings.TrimRight(row.after, " ") {
				t.Errorf("got  %q\nwant %q", got, row.after)
			}
			if len(got) < len(row.before) || !json.Valid([]byte(got)) {
				t.Errorf("shorter than before, or no JSON: %q", got)
			}
			after, _ := os.Stat(d.Sidecar())
			if before.Mode() != after.Mode() {
				t.Errorf("mode was %v, is %v", before.Mode(), after.Mode())
			}
			if wrote, err := refresh(d.Root, entryOf(t, d), ms); wrote || err != nil {
				t.Errorf("the same time again: wrote %v, %v", wrote, err)
			}
		})
	}
}

// What is not what it was judged as is left to the next sweep.
func TestRefreshNotNow(t *testing.T) {
	const text = `{"spawned_at_unix_ms": 5, "last_seen_unix_ms": 6}`
	write := func(text string) func(t *testing.T, d daemondirtest.Dir) {
		return func(t *testing.T, d daemondirtest.Dir) { daemondirtest.WriteFile(t, d.Sidecar(), text) }
	}
	for rule, change := range map[string]func(t *testing.T, d daemondirtest.Dir){
		"a respawn, of the same length":        write(`{"spawned_at_unix_ms": 6, "last_seen_unix_ms": 6}`),
		"seen by another, in the same length":  write(`{"spawned_at_unix_ms": 5, "last_seen_unix_ms": 8}`),
		"it is no JSON, in the same length":    write(`{"spawned_at_unix_ms": 5, "last_seen_unix_ms": 6 `),
		"it has no number, in the same length": write(`{"spawned_at_unix_ms": 5, "last_seen_unix_xx": 6}`),
		"the dir is gone":                      func(t *testing.T, d daemondirtest.Dir) { _ = os.RemoveAll(d.Path()) },
		"the sidecar is gone":                  func(t *testing.T, d daemondirtest.Dir) { _ = os.Remove(d.Sidecar()) },
		"the sidecar is being written":         write(""),
		"half of it is written":                write(`{"a": `),
		"another dir has the name": func(t *testing.T, d daemondirtest.Dir) {
			_ = os.Rename(d.Path(), d.Path()+"-away")
			daemondirtest.Make(t, d.Root, d.Name, "{}", "")
		},
	} {
		t.Run(rule, func(t *testing.T) {
			d := daemondirtest.Make(t, t.TempDir(), "a", text, "")
			e := entryOf(t, d)
			if e.Dir == (daemondir.FileID{}) {
				t.Skip("directories have no identity on this system")
			}
			change(t, d)
			text, _ := os.ReadFile(d.Sidecar())
			if wrote, err := refresh(d.Root, e, 7); wrote || !errors.Is(err, errNotNow) {
				t.Errorf("wrote %v, error %v", wrote, err)
			}
			if now, _ := os.ReadFile(d.Sidecar()); string(now) != string(text) {
				t.Errorf("it wrote %q over %q", now, text)
			}
		})
	}
}

// Where there are no leases: a new file of the same mode, renamed over the old one.
func TestReplace(t *testing.T) {
	d := daemondirtest.Make(t, t.TempDir(), "a", sidecarText(1, 2), "")
	if err := os.Chmod(d.Sidecar(), 0o604); err != nil {
		t.Fatal(err)
	}
	before, _ := os.Stat(d.Sidecar()) // Windows has no such mode
	// A crash left this.
	daemondirtest.WriteFile(t, filepath.Join(d.Path(), ".runtimegc.tmp"), "half")
	id := entryOf(t, d).Dir
	replaceNow := func(meanwhile func()) error {
		f := openSidecar(t, d, daemondir.ReadOnly)
		text, said, problem := f.Text()
		if problem != daemondir.ProblemNone {
			t.Fatal(problem)
		}
		meanwhile()
		tail, offset := said.WithLastSeen(text, 3)
		return fsys.Replace(d.Sidecar(), id, f, text, tail, offset)
	}
	if err := replaceNow(func() {}); err != nil {
		t.Fatal(err)
	}
	if got := daemondirtest.ReadFile(t, d.Sidecar()); got != sidecarText(1, 3) {
		t.Errorf("got %q", got)
	}
	if info, _ := os.Stat(d.Sidecar()); info.Mode() != before.Mode() {
		t.Errorf("mode is %v", info.Mode())
	}

	// The spawner wrote in between: its update stays, and nothing of ours is left behind.
	if err := replaceNow(func() { daemondirtest.WriteFile(t, d.Sidecar(), sidecarText(8, 9)) }); !errors.Is(err, fsys.ErrChanged) {
		t.Errorf("error %v", err)
	}
	if got := daemondirtest.ReadFile(t, d.Sidecar()); got != sidecarText(8, 9) {
		t.Errorf("got %q", got)
	}
	if _, err := os.Stat(filepath.Join(d.Path(), ".runtimegc.tmp")); err == nil {
		t.Error("the temporary file is left behind")
	}
}

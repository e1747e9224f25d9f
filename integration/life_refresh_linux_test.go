package integration

import (
	"bytes"
	"os"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// A refresh changes one number of the sidecar and nothing else: no byte, not the
// inode, not the mode, not the owner.
func TestRefreshChangesOneNumber(t *testing.T) {
	t.Parallel()
	now := time.Now()
	const number = "1700000000000"
	for name, text := range map[string]string{
		"as spawned":    string(daemondirtest.Sidecar(now, time.UnixMilli(1700000000000))),
		"compact":       `{"a":1.0,"last_seen_unix_ms":` + number + `,"z":"\u00e9\/"}`,
		"odd spacing":   "{ \"b\" : [ ] ,\r\n\t\"last_seen_unix_ms\"\t:  " + number + "  \r\n}\n\n",
		"keys unsorted": `{"z":1,"last_seen_unix_ms":` + number + `,"a":1e3,"z":2}`,
		"same twice":    `{"last_seen_unix_ms":5,"k":"é","last_seen_unix_ms":` + number + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := runtimeRoot(t)
			s := newSpawner(t, root)
			d := s.spawnAs("d", []byte(text))
			path := s.sidecar("d")
			noError(t, os.Chmod(path, 0o640))
			if os.Geteuid() == 0 {
				noError(t, os.Chown(path, 4711, 4712))
			}
			before := ownership(t, path)
			w := startWatch(t, root, "--sweep-interval", "50ms")
			w.next("sidecar.refreshed", "d")
			w.next("sidecar.refreshed", "d")
			w.stop(syscall.SIGTERM)

			after, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			head, tail, _ := bytes.Cut([]byte(text), []byte(number))
			value, ok := bytes.CutPrefix(after, head)
			if ok {
				value, ok = bytes.CutSuffix(value, tail)
			}
			if !ok {
				t.Fatalf("more than the number has changed\nfrom %q\nto   %q", text, after)
			}
			checkRecent(t, string(value), now)
			if now := ownership(t, path); now != before {
				t.Errorf("mode, owner or inode has changed from %+v to %+v", before, now)
			}
			if err := d.complete(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A sidecar fresh from the spawner may not have the number yet. It is then added as
// the last member, in the style of the others.
func TestRefreshAddsTheNumber(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	now := time.Now()
	text := daemondirtest.Sidecar(now, time.Time{})
	s.spawnAs("d", text)
	before := ownership(t, s.sidecar("d"))
	run(t, "prune", "--root", root).must(t)
	after, err := os.ReadFile(s.sidecar("d"))
	if err != nil {
		t.Fatal(err)
	}
	head, _ := bytes.CutSuffix(text, []byte("\n}"))
	value, ok := bytes.CutPrefix(after, append(head, ",\n  \"last_seen_unix_ms\": "...))
	if ok {
		value, ok = bytes.CutSuffix(value, []byte("\n}"))
	}
	if !ok {
		t.Fatalf("more than the number was added\nfrom %s\nto   %s", text, after)
	}
	checkRecent(t, string(value), now)
	if now := ownership(t, s.sidecar("d")); now != before {
		t.Errorf("mode, owner or inode has changed from %+v to %+v", before, now)
	}
}

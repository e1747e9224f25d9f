// Package daemondirtest makes daemon dirs for tests, waits for what comes of them, and
// collects what is logged meanwhile, in the manner of net/http/httptest. Only tests
// import it.
//
// It spells the names of the files out and does not import package daemondir: it plays
// the spawner, which is another program, and daemondir's own tests use it too.
package daemondirtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// DeadPID is the pid of no process: Linux gives pids up to 2^22 (proc_sys_kernel(5)).
const DeadPID = 1<<31 - 2

// Secret stands in every sidecar that [Sidecar] returns, in keys and in values. No
// output of the program may hold it.
const Secret = "s3cret-marker"

// sidecar has the keys that the spawner writes, in its order.
type sidecar struct {
	Command   string            `json:"command"`
	Args      []string          `json:"args"`
	Cwd       string            `json:"cwd"`
	Env       map[string]string `json:"env"`
	Extra     map[string]any    `json:"extra-s3cret-marker"`
	SpawnedAt int64             `json:"spawned_at_unix_ms,omitempty"`
	LastSeen  int64             `json:"last_seen_unix_ms,omitempty"`
}

// Sidecar returns the text of the sidecar of a daemon that was spawned and last seen at
// these times. A zero time leaves its key out.
func Sidecar(spawnedAt, lastSeen time.Time) []byte {
	s := sidecar{
		Command: "/bin/" + Secret,
		Args:    []string{"--token", Secret},
		Cwd:     "/srv/" + Secret,
		Env:     map[string]string{"PATH": "/usr/bin:/bin", "API_KEY": Secret, Secret: "1"},
		Extra:   map[string]any{"nested": []any{Secret, map[string]any{Secret: 1.5}}},
	}
	if !spawnedAt.IsZero() {
		s.SpawnedAt = spawnedAt.UnixMilli()
	}
	if !lastSeen.IsZero() {
		s.LastSeen = lastSeen.UnixMilli()
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic(err) // Strings and numbers can always be encoded.
	}
	return text
}

// Dir is the daemon dir Root/Name, which need not exist.
type Dir struct{ Root, Name string }

// Path returns the path of the directory.
func (d Dir) Path() string { return filepath.Join(d.Root, d.Name) }

// Sidecar returns the path of its sidecar.
func (d Dir) Sidecar() string { return filepath.Join(d.Root, d.Name, d.Name+".daemon.json") }

// PIDFile returns the path of its pid file.
func (d Dir) PIDFile() string { return filepath.Join(d.Root, d.Name, "daemon.pid") }

// Mkdir is the first step of a spawn. A directory that exists is used again.
func (d Dir) Mkdir() error {
	if err := os.Mkdir(d.Path(), 0o755); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// WriteSidecar is the second step. Like the spawner it truncates the file and writes it
// in one go, without a rename: readers may see it empty.
func (d Dir) WriteSidecar(text []byte) error { return os.WriteFile(d.Sidecar(), text, 0o644) }

// WritePID is the last step, when the process runs.
func (d Dir) WritePID(pid string) error { return os.WriteFile(d.PIDFile(), []byte(pid), 0o644) }

// Make does all steps of a spawn but for the process, in their order, and ends the test
// if one of them fails. It makes root if there is none, and no pid file if pid is empty.
func Make[Text string | []byte](t testing.TB, root, name string, sidecar Text, pid string) Dir {
	t.Helper()
	d := Dir{Root: root, Name: name}
	err := os.MkdirAll(root, 0o755)
	if err == nil {
		err = d.Mkdir()
	}
	if err == nil {
		err = d.WriteSidecar([]byte(sidecar))
	}
	if err == nil && pid != "" {
		err = d.WritePID(pid)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Patience is how long a test waits for what must happen. It is long because machines
// are slow at times; only a test that fails uses it up.
const Patience = time.Minute

// Eventually waits until done returns true, and ends the test if that does not happen
// within [Patience].
func Eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", Patience, what)
		}
	}
}

// Log collects what is logged, one JSON object a line. Its zero value is empty, and it
// may be read while others write to it.
type Log struct {
	mu     sync.Mutex // guards all below
	text   []byte
	parsed int              // how many bytes of text are in lines
	lines  []map[string]any // the lines that are JSON objects
}

// Write appends p, which need not be a whole line.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	return len(p), nil
}

// String returns all that was logged.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

// Events returns the whole lines whose "event" is name, oldest first; all lines that are
// JSON objects if name is empty.
func (l *Log) Events(name string) []map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		length := bytes.IndexByte(l.text[l.parsed:], '\n') + 1
		if length == 0 {
			break
		}
		var fields map[string]any
		if json.Unmarshal(l.text[l.parsed:l.parsed+length], &fields) == nil && fields != nil {
			l.lines = append(l.lines, fields)
		}
		l.parsed += length
	}
	var found []map[string]any
	for _, fields := range l.lines {
		if name == "" || fields["event"] == name {
			found = append(found, fields)
		}
	}
	return found
}

package daemondirtest_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// What is made here is what package daemondir reads.
func TestMake(t *testing.T) {
	spawned, seen := time.UnixMilli(1_700_000_000_000), time.UnixMilli(1_700_000_000_001)
	for _, tt := range []struct {
		name    string
		sidecar []byte
		pid     string
		want    daemondir.Entry
	}{
		{"all there is", daemondirtest.Sidecar(spawned, seen), "12",
			daemondir.Entry{SpawnedAt: daemondir.At(1_700_000_000_000), LastSeen: daemondir.At(1_700_000_000_001), PID: daemondir.PID{N: 12, Known: true}}},
		{"neither times nor pid", daemondirtest.Sidecar(time.Time{}, time.Time{}), "", daemondir.Entry{}},
		{"a sidecar of a test's own", []byte("{"), "", daemondir.Entry{Problem: daemondir.ProblemNotJSON}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := daemondirtest.Make(t, t.TempDir(), "web", tt.sidecar, tt.pid)
			e, err := daemondir.Read(d.Root, d.Name)
			if err != nil || e.Problem != tt.want.Problem || e.SpawnedAt != tt.want.SpawnedAt || e.LastSeen != tt.want.LastSeen || e.PID != tt.want.PID {
				t.Errorf("read %+v, %v; want %+v", e, err, tt.want)
			}
		})
	}
}

// A spawner is refused at the open of its sidecar, and nowhere else.
func TestRefused(t *testing.T) {
	d := daemondirtest.Dir{Root: t.TempDir(), Name: "web"}
	sidecar := d.WriteSidecar(nil)
	if pid := d.WritePID("1"); !d.Refused(sidecar) || d.Refused(pid) || d.Refused(nil) {
		t.Errorf("refused by %v: %v; by %v: %v; by nothing: %v", sidecar, d.Refused(sidecar), pid, d.Refused(pid), d.Refused(nil))
	}
	if err := d.Mkdir(); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(d.Sidecar(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := d.WriteSidecar(nil); err == nil || d.Refused(err) {
		t.Errorf("refused by %v", err)
	}
}

// A line counts when it is whole, and text that is no JSON is only text.
func TestLogEvents(t *testing.T) {
	var log daemondirtest.Log
	fmt.Fprint(&log, `{"event":"a","n":1}`+"\nno JSON\nnull\n"+`{"event":"b"`)
	if a, b := log.Events("a"), log.Events("b"); len(a) != 1 || a[0]["n"] != 1.0 || len(b) != 0 {
		t.Errorf("got %v, %v", a, b)
	}
	fmt.Fprint(&log, "}\n")
	if len(log.Events("b")) != 1 || len(log.Events("")) != 2 {
		t.Errorf("got %v of\n%s", log.Events(""), &log)
	}
}

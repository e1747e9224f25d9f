package prune

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"testing"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// refreshUnleased refreshes one sidecar in a thread that gets no lease on it.
func refreshUnleased(t *testing.T, root string, e daemondir.Entry, ms uint64) (fresh daemondir.Entry, err error) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		dropLeases(t)
		r, openErr := newRefresher(root)
		if openErr != nil {
			err = openErr
			return
		}
		defer r.close()
		fresh, err = r.refresh(e, ms)
	}()
	<-done
	return fresh, err
}

// A sidecar of another user, on which a process without CAP_LEASE gets no lease, is replaced.
// It keeps its owner, and the entry says what it is then.
func TestRefreshWithoutALease(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a file to another user takes root")
	}
	d := daemondirtest.Make(t, t.TempDir(), "a", sidecarText(1, 2), "")
	if err := os.Chown(d.Sidecar(), nobodyID, nobodyID); err != nil {
		t.Fatal(err)
	}
	before := entryOf(t, d)
	for range 2 { // the second time there is nothing to write
		fresh, err := refreshUnleased(t, d.Root, before, 3)
		if now := entryOf(t, d); err != nil || fresh != now || now.LastSeen != daemondir.At(3) {
			t.Errorf("said %+v, %v; it is %+v", fresh, err, now)
		}
		before = fresh
	}
	info, err := os.Stat(d.Sidecar())
	if err != nil || info.Sys().(*syscall.Stat_t).Uid != nobodyID || daemondirtest.ReadFile(t, d.Sidecar()) != sidecarText(1, 3) {
		t.Errorf("%+v, %v: %q", info, err, daemondirtest.ReadFile(t, d.Sidecar()))
	}
}

// Nor is one replaced that is not what was judged.
func TestRefreshWithoutALeaseNotNow(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a file to another user takes root")
	}
	const text = `{"spawned_at_unix_ms": 5, "last_seen_unix_ms": 6}`
	for rule, change := range map[string]func(t *testing.T, d daemondirtest.Dir){
		"a respawn": func(t *testing.T, d daemondirtest.Dir) {
			daemondirtest.WriteFile(t, d.Sidecar(), `{"spawned_at_unix_ms": 7, "last_seen_unix_ms": 6}`)
		},
		"seen by another": func(t *testing.T, d daemondirtest.Dir) {
			daemondirtest.WriteFile(t, d.Sidecar(), `{"spawned_at_unix_ms": 5, "last_seen_unix_ms": 8}`)
		},
		"no JSON":             func(t *testing.T, d daemondirtest.Dir) { daemondirtest.WriteFile(t, d.Sidecar(), text[1:]+" ") },
		"the dir is gone":     func(t *testing.T, d daemondirtest.Dir) { _ = os.RemoveAll(d.Path()) },
		"the sidecar is gone": func(t *testing.T, d daemondirtest.Dir) { _ = os.Remove(d.Sidecar()) },
		"the same files in another dir": func(t *testing.T, d daemondirtest.Dir) {
			_ = os.Rename(d.Path(), d.Path()+"-away")
			_ = d.Mkdir()
			_ = os.Rename(d.Path()+"-away/a.daemon.json", d.Sidecar())
		},
	} {
		t.Run(rule, func(t *testing.T) {
			d := daemondirtest.Make(t, t.TempDir(), "a", text, "")
			if err := os.Chown(d.Sidecar(), nobodyID, nobodyID); err != nil {
				t.Fatal(err)
			}
			e := entryOf(t, d)
			change(t, d)
			before, _ := os.ReadFile(d.Sidecar())
			fresh, err := refreshUnleased(t, d.Root, e, 7)
			if !errors.Is(err, errDiffers) || fresh != e {
				t.Errorf("%+v, %v; want that it differs", fresh, err)
			}
			if now, _ := os.ReadFile(d.Sidecar()); string(now) != string(before) {
				t.Errorf("it wrote %q over %q", now, before)
			}
		})
	}
}

// What stands in a file after a write that came too late says whether it has done damage.
func TestRecheckWritten(t *testing.T) {
	const before, tail = `{"a": "b", "c": `, `3}`
	for _, row := range []struct {
		rule, now string
		want      error
	}{
		{"nobody has written", before + tail, nil},
		{"all is the other's", `{"other": true, "and": "longer"}`, errNotNow},
		{"all is the other's, of the same length", `{"a": "x", "c": 4}`, errNotNow},
		{"all is the other's, and shorter", `{}`, errNotNow},
		{"ours is at the end of the other's", `{"a": "x", "c": ` + tail, errOverwritten},
		{"ours is amid the other's", `{"a": "x", "c": ` + tail + ` "d": 5}`, errOverwritten},
	} {
		d := daemondirtest.Make(t, t.TempDir(), "a", row.now, "")
		f := openSidecar(t, d, daemondir.ReadOnly)
		if err := recheckWritten(f, []byte(before+tail), []byte(tail), len(before)); err != row.want {
			t.Errorf("%s: %v, want %v", row.rule, err, row.want)
		}
		f.Close()
	}
}

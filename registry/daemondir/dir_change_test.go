package daemondir

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// Daemon dirs that change while they are read.

// Between open and read the file may be rewritten. What is read is never a piece of it,
// and the stamp is that of what was read.
func TestContentChangedAfterOpen(t *testing.T) {
	for _, tt := range []struct {
		name, opened, changed string
		limit                 int64
		want                  Problem
	}{
		{"not at all", "4711", "4711", 64, ProblemNone},
		{"written: the first digit is no pid", "", "4711", 64, ProblemNone},
		{"written: the first bytes are no sidecar", "", written, MaxSidecarSize, ProblemNone},
		{"longer by a digit", "471", "4711", 64, ProblemNone},
		{"longer by much", "{}", written, MaxSidecarSize, ProblemNone},
		{"shorter", "4711", "12", 64, ProblemNone},
		{"shorter by a page", strings.Repeat(" ", 5000), written, MaxSidecarSize, ProblemNone},
		{"truncated", "4711", "", 64, ProblemNone},
		{"longer, up to the limit", "{}", "{" + strings.Repeat(" ", 62) + "}", 64, ProblemNone},
		{"longer, beyond the limit", "{}", "{" + strings.Repeat(" ", 63) + "}", 64, ProblemTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			path := daemondirtest.Make(t, root, "web", tt.opened, "").Sidecar()
			f, err := openDir(t, root, "web").OpenSidecar(ReadOnly)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if tt.changed != tt.opened {
				daemondirtest.WriteFile(t, path, tt.changed)
			}
			text, problem := f.content(tt.limit)
			if problem != tt.want {
				t.Errorf("%q, want %q", problem, tt.want)
			}
			if problem == ProblemNone && string(text) != tt.changed {
				t.Errorf("read %q, not %q", text, tt.changed)
			}
			if want := stampAt(t, path); len(tt.opened) != len(tt.changed) && f.stamp() != want {
				t.Errorf("stamp %+v, want %+v", f.stamp(), want)
			}
		})
	}
}

// The spawner and the original collector rewrite a sidecar in place, by truncate and
// write. A reader may catch it empty or cut, but never with timestamps nobody wrote, nor
// with one of the old text and one of the new. (Texts of one length: dir_linux_test.go.)
func TestReadWhileRewritten(t *testing.T) {
	checkReadsWhileRewritten(t, t.TempDir(), 9000, 4100, 12000)
}

// Somebody else's rmtree may come between any two of our system calls.
func TestReadWhileRemoved(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("what is open cannot be removed on Windows")
	}
	const entries = 1000
	root := t.TempDir()
	dir := daemondirtest.Dir{Root: root, Name: "web"}
	stop := make(chan struct{})
	var spawner sync.WaitGroup
	spawner.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			err := errors.Join(
				dir.Mkdir(),
				dir.WriteSidecar([]byte(`{"last_seen_unix_ms":2}`)),
				dir.WritePID("4711"),
				os.RemoveAll(dir.Path()),
			)
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	seen := make(map[string]int)
	deadline := time.Now().Add(20 * time.Second)
	for n := 0; n < entries || seen["whole"] == 0 || seen["gone"] == 0; {
		if time.Now().After(deadline) {
			t.Errorf("after 20 s: %v", seen)
			break
		}
		e, err := Read(root, "web")
		switch {
		case errors.Is(err, fs.ErrNotExist):
			seen["gone"]++
			if e != (Entry{}) {
				t.Errorf("%v with %+v", err, e)
			}
			continue
		case errors.Is(err, ErrBusy):
			seen["busy"]++
			continue
		case err != nil:
			t.Errorf("%+v, %v", e, err)
		case e.Problem == ProblemNone:
			seen["whole"]++
			if e.LastSeen != At(2) {
				t.Errorf("%+v", e)
			}
		case e.Problem == ProblemNoSidecar || e.Problem == ProblemEmpty:
			seen[e.Problem.String()]++
		default:
			t.Errorf("%q", e.Problem)
		}
		if e.PID.Known && e.PID.N != 4711 {
			t.Errorf("pid %d, which nobody wrote", e.PID.N)
		}
		n++
	}
	close(stop)
	spawner.Wait()
	t.Logf("reads by result: %v", seen)
}

// checkReadsWhileRewritten reads a daemon dir in root beside a loop that rewrites its two files.
// There is one text for each padding; it is longer than a page, with the two timestamps,
// which are equal, on different pages.
func checkReadsWhileRewritten(t *testing.T, root string, paddings ...int) {
	t.Helper()
	reads, wholeReads, pause := 3000, 200, time.Duration(0)
	if runtime.GOOS == "windows" {
		// There a read is slower than a rewrite, and would always be overtaken (Wine: 20 ms).
		reads, wholeReads, pause = 50, 10, 20*time.Millisecond
	}
	texts := make(map[Timestamp]string)
	for i, padding := range paddings {
		ms := 1700000000000 + uint64(i)
		texts[At(ms)] = fmt.Sprintf(`{"last_seen_unix_ms":%d,"env":{"A":"%s"},"spawned_at_unix_ms":%d}`, ms, strings.Repeat("x", padding), ms)
	}
	pids := []string{"4711", "815", "4294967295"}
	dir := daemondirtest.Make(t, root, "web", texts[At(1700000000000)], pids[0])

	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; ; {
			for _, text := range texts {
				err := errors.Join(
					dir.WriteSidecar([]byte(text)),
					dir.WritePID(pids[i%len(pids)]),
				)
				if err != nil {
					t.Error(err)
					return
				}
				i++
				if pause > 0 {
					time.Sleep(rand.N(pause))
				}
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	whole, seen := 0, make(map[string]int)
	deadline := time.Now().Add(20 * time.Second)
	for n := 0; n < reads || whole < wholeReads; n++ {
		if time.Now().After(deadline) {
			t.Errorf("%d reads after 20 s, %d of them whole", n, whole)
			break
		}
		e, err := Read(root, "web")
		if errors.Is(err, ErrBusy) {
			seen["busy"]++
			continue
		}
		if err != nil {
			t.Error(err)
			break
		}
		if e.PID.Known && !slices.Contains(pids, fmt.Sprint(e.PID.N)) {
			t.Errorf("pid %d, which nobody wrote", e.PID.N)
		}
		seen[e.Problem.String()]++
		switch e.Problem {
		case ProblemNone:
			whole++
			if text, ok := texts[e.SpawnedAt]; !ok || e.LastSeen != e.SpawnedAt || e.Sidecar.Size != int64(len(text)) {
				t.Errorf("spawned %v, seen %v, %d bytes", e.SpawnedAt, e.LastSeen, e.Sidecar.Size)
			}
		case ProblemEmpty, ProblemNotJSON:
			if e.SpawnedAt.Known || e.LastSeen.Known {
				t.Errorf("%q with timestamps: %+v", e.Problem, e)
			}
		default:
			t.Errorf("%q", e.Problem)
		}
	}
	close(stop)
	writer.Wait()
	t.Logf("reads by result: %v", seen)
	if e, err := Read(root, "web"); err != nil || e.Problem != ProblemNone || !e.PID.Known {
		t.Errorf("after the last write: %+v, %v", e, err)
	}
}

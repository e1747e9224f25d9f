package control

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/prune"
	"runtimegc/registry/daemondir"
)

// fakeWatch answers what it is told to.
type fakeWatch struct {
	status  Status
	endings map[string]prune.Ending
	sweep   func(context.Context, Client, prune.Request) (prune.Result, error)
}

func (w fakeWatch) Status() Status { return w.status }

func (w fakeWatch) Endings() iter.Seq2[string, prune.Ending] { return maps.All(w.endings) }

func (w fakeWatch) Sweep(ctx context.Context, from Client, r prune.Request) (prune.Result, error) {
	return w.sweep(ctx, from, r)
}

func newRoot(t *testing.T) (root string, id daemondir.FileID) {
	t.Helper()
	const eafnosupport = syscall.Errno(10047) // of Windows' sockets
	if fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0); err == eafnosupport {
		t.Skip("no UNIX sockets here: this is Wine, or Windows before version 1803")
	} else if err == nil {
		syscall.Close(fd)
	}
	root = filepath.Join(t.TempDir(), "runtime")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	return root, identityOf(t, root)
}

func identityOf(t *testing.T, root string) daemondir.FileID {
	t.Helper()
	id, err := daemondir.IdentifyPath(root)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func serve(t *testing.T, root string, w Watch) *Server {
	t.Helper()
	s, err := Serve(root, identityOf(t, root), w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func find(t *testing.T, root string) *Found {
	t.Helper()
	f, err := Find(t.Context(), root)
	if err != nil || f == nil {
		t.Fatalf("found %v, %v", f, err)
	}
	return f
}

// silent takes the first free place of root, and never answers.
func silent(t *testing.T, root string, id daemondir.FileID) {
	t.Helper()
	p, err := newPlace(root, id)
	if err != nil {
		t.Fatal(err)
	}
	l, err := p.listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

// All of a status, a request and a result arrives as it was sent, whatever the bytes of a name.
func TestAskAndAnswer(t *testing.T) {
	t.Parallel()
	root, _ := newRoot(t)
	status := Status{
		Version: "v1", Since: time.UnixMilli(1e12), Role: prune.RoleCollector,
		Times:        prune.Settings{StaleAfter: time.Hour, SweepInterval: time.Minute},
		InvalidAfter: 24 * time.Hour, Protect: []string{"db-*"},
		SharedRoot: true, SharedRootBecause: "nfs", LastSweep: time.UnixMilli(2e12),
	}
	endings := map[string]prune.Ending{"a": {Code: 3}, "b\xff\x00": {Signal: "SIGKILL"}}
	request := prune.Request{Names: []string{"a", "\xff\x00/"}, StaleAfter: time.Second}
	result := prune.Result{
		Stats: prune.Stats{Checked: 2, Removed: 1, Unreadable: 3},
		Rows: []prune.Row{
			{Name: "a", Dir: filepath.Join(root, "a"), PID: daemondir.PID{N: 7, Known: true}, State: prune.Dead,
				Reason: prune.Protected, LastSeen: daemondir.At(5), Decision: prune.Keep, ProtectedBy: "a mark", Ending: &prune.Ending{Signal: "SIGSEGV"}, Details: "pid 7 holds a lock on it", UsedBy: 7},
			{Name: "\xff", Dir: filepath.Join(root, "\xff"), State: prune.Unknown, Err: errors.New("refused")},
		},
	}
	var from Client
	serve(t, root, fakeWatch{status, endings, func(_ context.Context, by Client, r prune.Request) (prune.Result, error) {
		from = by
		if !reflect.DeepEqual(r, request) {
			t.Errorf("requested %+v, want %+v", r, request)
		}
		return result, nil
	}})
	f := find(t, root)
	if f.Since.Equal(status.Since) && f.LastSweep.Equal(status.LastSweep) {
		f.Since, f.LastSweep = status.Since, status.LastSweep // they may have another location
	}
	if !reflect.DeepEqual(f.Status, status) {
		t.Errorf("status %+v, want %+v", f.Status, status)
	}
	if !maps.Equal(f.Endings, endings) {
		t.Errorf("endings %v, want %v", f.Endings, endings)
	}
	got, err := f.Sweep(t.Context(), request)
	if err != nil || !reflect.DeepEqual(got, result) {
		t.Errorf("swept %+v, %v, want %+v", got, err, result)
	}
	if from.UID != os.Geteuid() && from.UID != -1 {
		t.Errorf("it came from %+v", from)
	}
}

// abortedWatch ends in the middle of its answer.
type abortedWatch struct{ fakeWatch }

func (w abortedWatch) Endings() iter.Seq2[string, prune.Ending] {
	return func(yield func(string, prune.Ending) bool) {
		for range 10_000 { // more than are sent at a time
			yield("a", prune.Ending{})
		}
		panic(http.ErrAbortHandler)
	}
}

// An answer that is cut off is not taken for a whole one.
func TestAnswerIsCutOff(t *testing.T) {
	t.Parallel()
	root, _ := newRoot(t)
	serve(t, root, abortedWatch{})
	if f, err := Find(t.Context(), root); f != nil || err == nil || !strings.Contains(err.Error(), "it has ended") {
		t.Errorf("found %v, %v", f, err)
	}
}

// An error of the watch is that of the request.
func TestRefusedSweep(t *testing.T) {
	t.Parallel()
	root, _ := newRoot(t)
	serve(t, root, fakeWatch{sweep: func(context.Context, Client, prune.Request) (prune.Result, error) {
		return prune.Result{}, prune.ErrEnded
	}})
	if _, err := find(t, root).Sweep(t.Context(), prune.Request{}); err == nil || err.Error() != prune.ErrEnded.Error() {
		t.Errorf("%v", err)
	}
}

// Without a watch, or without a root, nothing is found.
func TestNobody(t *testing.T) {
	t.Parallel()
	root, _ := newRoot(t)
	for _, root := range []string{root, filepath.Join(root, "none")} {
		if f, err := Find(t.Context(), root); f != nil || err != nil {
			t.Errorf("found %v, %v", f, err)
		}
	}
}

// The watch that has the lock is found before a dry run, and behind a process that has taken
// the first place and does not answer.
func TestTheRightOne(t *testing.T) {
	t.Parallel()
	root, id := newRoot(t)
	silent(t, root, id)
	serve(t, root, fakeWatch{status: Status{Version: "dry"}})
	if f := find(t, root); f.Version != "dry" {
		t.Errorf("found %+v", f)
	}
	serve(t, root, fakeWatch{status: Status{Version: "collector", Role: prune.RoleCollector}})
	if f := find(t, root); f.Version != "collector" {
		t.Errorf("found %+v", f)
	}
	serve(t, root, fakeWatch{status: Status{Version: "dry"}})
	if f := find(t, root); f.Version != "collector" {
		t.Errorf("found %+v", f)
	}
}

// One that does not answer is an error, soon.
func TestSilentWatch(t *testing.T) {
	t.Parallel()
	root, id := newRoot(t)
	silent(t, root, id)
	began := time.Now()
	f, err := Find(t.Context(), root)
	if f != nil || err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("found %v, %v", f, err)
	}
	if took := time.Since(began); took > 5*statusTimeout {
		t.Errorf("after %v", took)
	}
}

// A watch whose root was moved away does not answer for it, nor for what has taken its place.
func TestMovedRoot(t *testing.T) {
	t.Parallel()
	root, _ := newRoot(t)
	serve(t, root, fakeWatch{})
	find(t, root)
	moved := root + ".moved"
	if err := errors.Join(os.Rename(root, moved), os.Mkdir(root, 0o755)); err != nil {
		t.Fatal(err)
	}
	if f, err := Find(t.Context(), root); f != nil || err != nil {
		t.Errorf("in its place: found %v, %v", f, err)
	}
	if f, err := Find(t.Context(), moved); f != nil || err == nil || !strings.Contains(err.Error(), "moved") {
		t.Errorf("moved: found %v, %v", f, err)
	}
}

// At the end, a request under way is answered if that does not take long; then nobody is found.
func TestClose(t *testing.T) {
	t.Parallel()
	root, _ := newRoot(t)
	for _, test := range []struct {
		name  string
		takes time.Duration
		fails bool
	}{{"soon", 50 * time.Millisecond, false}, {"late", time.Hour, true}} {
		t.Run(test.name, func(t *testing.T) {
			begun := make(chan struct{})
			s := serve(t, root, fakeWatch{sweep: func(ctx context.Context, _ Client, _ prune.Request) (prune.Result, error) {
				close(begun)
				select {
				case <-time.After(test.takes):
				case <-ctx.Done(): // else the watch could not end
				}
				return prune.Result{}, ctx.Err()
			}})
			f, failed := find(t, root), make(chan error, 1)
			go func() {
				_, err := f.Sweep(t.Context(), prune.Request{})
				failed <- err
			}()
			<-begun
			s.Close()
			if err := <-failed; (err != nil) != test.fails {
				t.Errorf("%v", err)
			}
			if f, err := Find(t.Context(), root); f != nil || err != nil {
				t.Errorf("found %v, %v", f, err)
			}
		})
	}
}

// A request that is not one of ours is refused, and harms nothing.
func TestMalformedRequest(t *testing.T) {
	t.Parallel()
	root, _ := newRoot(t)
	serve(t, root, fakeWatch{sweep: func(context.Context, Client, prune.Request) (prune.Result, error) {
		t.Error("it was obeyed")
		return prune.Result{}, nil
	}})
	f := find(t, root)
	var got sweepResult
	for i, question := range []any{"text", 7, map[string]any{"names": 1}, sweepRequest{Names: [][]byte{make([]byte, maxRequest)}}} {
		if err := f.ask(t.Context(), "POST", "/sweep", question, 1000, func(answer *json.Decoder) error { return answer.Decode(&got) }); err == nil {
			t.Errorf("question %d was answered", i)
		}
	}
	find(t, root)
}

// Package daemondirtest makes daemon dirs for tests, and daemons, waits for what comes of
// them, and collects what is logged meanwhile, in the manner of net/http/httptest. Only
// tests import it.
//
// It spells the names of the files out and does not import package daemondir: it plays
// the spawner, which is another program, and daemondir's own tests use it too.
package daemondirtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
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

// Program returns the path of its trampoline: on Windows a program's name ends with .exe.
func (d Dir) Program() string {
	if runtime.GOOS == "windows" {
		return filepath.Join(d.Root, d.Name, d.Name+".exe")
	}
	return filepath.Join(d.Root, d.Name, d.Name)
}

// Exists says whether there is something of its name.
func (d Dir) Exists() bool {
	_, err := os.Lstat(d.Path())
	return err == nil
}

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

// Refused reports whether err, of a spawn, is the one that a removal may cause: the dir that
// its first step found is away at its second, the open of the sidecar. Until then there is
// nothing of the spawn that could be lost. An error of any later step is harm.
func (d Dir) Refused(err error) bool {
	var at *fs.PathError
	return errors.As(err, &at) && at.Op == "open" && at.Path == d.Sidecar() && errors.Is(err, fs.ErrNotExist)
}

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

// MakeDead makes the dir of a daemon that was spawned and last seen age ago, and whose
// process has exited.
func MakeDead(t testing.TB, root, name string, age time.Duration) Dir {
	t.Helper()
	seen := time.Now().Add(-age)
	return Make(t, root, name, Sidecar(seen, seen), strconv.Itoa(DeadPID))
}

// trampolineVar makes the test binary be a daemon.
const trampolineVar = "GCTEST_DAEMON"

// Main is the TestMain of a package that calls [MakeLive], or whose parallel tests wait most of
// the time. Root's tests see no mounts that those of other packages make meanwhile.
func Main(m *testing.M) {
	Trampoline()
	apart()
	AtOnce(6 + runtime.GOMAXPROCS(0))
	m.Run()
}

// AtOnce has n parallel tests run at a time, unless -parallel on the command line says otherwise.
// Call it before m.Run.
func AtOnce(n int) { _ = flag.Set("test.parallel", strconv.Itoa(n)) }

// Trampoline is for a TestMain that does more than [Main]. In a process that [MakeLive] started
// it waits to be killed.
func Trampoline() {
	if os.Getenv(trampolineVar) != "" {
		time.Sleep(time.Hour)
		os.Exit(0)
	}
}

// MakeLive makes the dir of a daemon that runs until it is killed, or the test ends. Its
// program, which lies in the dir, is the test binary: see [Main].
func MakeLive(t testing.TB, root, name string) (Dir, *exec.Cmd) {
	t.Helper()
	since := time.Now().Add(-time.Second) // a refresh within the same ms would change nothing
	d := Make(t, root, name, Sidecar(since, since), "")
	program := d.Program()
	self, err := os.Executable()
	// Windows removes no link of a file whose program runs, as the tests' does.
	if err == nil && (runtime.GOOS == "windows" || os.Link(self, program) != nil) {
		// Another file system, or fs.protected_hardlinks: the spawner copies, too.
		err = CopyProgram(program, self)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), trampolineVar+"=1")
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if err := d.WritePID(strconv.Itoa(cmd.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	return d, cmd
}

// CopyProgram copies an executable file to a path where there is none, ready to be run.
func CopyProgram(to, from string) error {
	// No fork meanwhile: a child would inherit the open file for a moment, and a file that
	// is open for writing cannot be executed (ETXTBSY).
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

// WriteFile writes text to the file at path, and ends the test if that fails.
func WriteFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// ReadFile returns the text of the file at path, and ends the test if it cannot.
func ReadFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// MemoryDir is t.TempDir, in memory if there is a file system there: on a worn disk a thousand
// files take a second.
func MemoryDir(t testing.TB) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		return t.TempDir() // Wine has that directory as well, on a drive that is not the current one
	}
	dir, err := os.MkdirTemp("/dev/shm", "runtimegc-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Symlink makes a symlink at path that leads to target. The error is for a skip: on Windows
// a user needs a right for it, and Wine says that it has made one when it has not.
func Symlink(target, path string) error {
	if err := os.Symlink(target, path); err != nil {
		return err
	}
	_, err := os.Lstat(path)
	return err
}

// Patience is how long a test waits for what must happen. It is long because machines
// are slow at times; only a test that fails uses it up.
const Patience = time.Minute

// Eventually waits until done returns true, and ends the test if that does not happen
// within [Patience].
func Eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	EventuallyNone(t, func() string {
		if done() {
			return ""
		}
		return what
	})
}

// EventuallyNone waits until amiss returns nothing that is, and ends the test with what it
// returned last if that does not happen within [Patience].
func EventuallyNone(t testing.TB, amiss func() string) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for last := amiss(); last != ""; last = amiss() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", Patience, last)
		}
		time.Sleep(2 * time.Millisecond)
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

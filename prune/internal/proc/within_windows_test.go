package proc

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// swapCase returns path in the other case: it leads to the same.
func swapCase(path string) string {
	if upper := strings.ToUpper(path); upper != path {
		return upper
	}
	return strings.ToLower(path)
}

// The case in which a path is spelled says nothing: a live trampoline was once judged dead
// because the system named its drive c: and the root was on C:.
func TestLocateIgnoresCase(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "web")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	id, err := daemondir.IdentifyPath(dir)
	if err != nil || id == (daemondir.FileID{}) {
		t.Fatal(id, err)
	}
	exe := filepath.Join(dir, "web.exe")
	for _, q := range []Query{{Dir: dir, ID: id}, {Dir: dir}, {Dir: swapCase(dir), ID: id}, {Dir: swapCase(dir)}} {
		for _, exe := range []string{exe, swapCase(exe)} {
			if got := q.locate(exe); got != ExeInside {
				t.Errorf("%s in %s (%v): %d, want inside", exe, q.Dir, q.ID, got)
			}
		}
	}
	// By its identity alone: as from a drive of subst.
	q := Query{Dir: `X:\runtime\web`, ID: id}
	if got := q.locate(exe); got != ExeInside {
		t.Errorf("by identity: %d, want inside", got)
	}
}

// Programs and working directories are found however the root is spelled, and noted under the
// name that is on disk.
func TestUsersIgnoreCase(t *testing.T) {
	root := t.TempDir()
	_, program := daemondirtest.MakeLive(t, root, "web")
	cwd := filepath.Join(root, "Api")
	if err := os.Mkdir(cwd, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	worker := exec.Command(self)
	worker.Env = append(os.Environ(), "GCTEST_DAEMON=1")
	worker.Dir = swapCase(cwd)
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = worker.Process.Kill()
		_ = worker.Wait()
	})
	for _, spelled := range []string{root, swapCase(root)} {
		daemondirtest.Eventually(t, "both are found in "+spelled, func() bool {
			users, err := FindUsers(spelled)
			if err != nil {
				t.Fatal(err)
			}
			exe, byExe := users.Of("web")
			dir, byDir := users.Of("Api")
			return byExe && exe.PID == int32(program.Process.Pid) && byDir && dir.PID == int32(worker.Process.Pid)
		})
	}
}

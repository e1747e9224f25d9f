//go:build !portable

package fsys

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir/daemondirtest"
)

// deepVar makes the test binary empty a deep tree in the directory that it names.
const deepVar = "GCTEST_DEEP"

// deepLevels is how many levels it has: more than a process may have descriptors. The long
// form is behind GCTEST_LONG.
func deepLevels() int {
	if os.Getenv("GCTEST_LONG") != "" {
		return 50_000
	}
	return 4000
}

// deepen makes a chain of so many directories below dir, and in each a file. Its path may
// be longer than a path may be.
func deepen(t *testing.T, dir string, levels int) {
	t.Helper()
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range levels {
		if err := unix.Mkdirat(at, "deeper", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mknodat(at, "file", unix.S_IFREG|0o644, 0); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(at, "deeper", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(at)
		at = next
	}
	unix.Close(at)
}

// However deep a tree is, it is surveyed and emptied with few descriptors and a small stack.
func TestEmptyDeep(t *testing.T) {
	levels := deepLevels()
	if root := os.Getenv(deepVar); root != "" {
		// Counting the standard ones, what the runtime has open, and the root's.
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 64, Max: 64}); err != nil {
			t.Fatal(err)
		}
		debug.SetMaxStack(256 << 10)
		if found, err := surveyTree(t, root, "top", time.Now().Add(time.Hour)); err != nil || found != (Finding{}) {
			t.Errorf("found %+v, %v", found, err)
		}
		tree := openTestTree(t, root, "top")
		var freed Freed
		if err := tree.Empty("", &freed, nil); err != nil || freed.Files != 2*levels {
			t.Errorf("%v; %d removed, want %d", err, freed.Files, 2*levels)
		}
		return
	}
	root := daemondirtest.MemoryDir(t)
	top := filepath.Join(root, "top")
	if err := os.Mkdir(top, 0o755); err != nil {
		t.Fatal(err)
	}
	deepen(t, top, levels)
	cmd := exec.Command(os.Args[0], "-test.run=^TestEmptyDeep$", "-test.v")
	cmd.Env = append(os.Environ(), deepVar+"="+root)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if left, err := os.ReadDir(top); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// One level too high or too low, or in a neighbour, is not in the tree.
func TestCheckDeep(t *testing.T) {
	root := daemondirtest.MemoryDir(t)
	top := filepath.Join(root, "top")
	if err := os.MkdirAll(top, 0o755); err != nil {
		t.Fatal(err)
	}
	const levels = 3 * maxHop
	deepen(t, top, levels)
	tree := openTestTree(t, root, "top")
	for i := range levels {
		if err := tree.enter("deeper"); err != nil {
			t.Fatal(err)
		}
		if i%100 == 0 || i%maxHop < 3 || i%maxHop > maxHop-3 {
			tree.unchecked = 0
			if err := tree.check(); err != nil {
				t.Fatalf("%d levels down: %v", i+1, err)
			}
		}
	}
	// All the way but the first directory is moved up by one level.
	if err := os.Rename(filepath.Join(top, "deeper", "deeper"), filepath.Join(top, "up")); err != nil {
		t.Fatal(err)
	}
	tree.unchecked = 0
	if err := tree.check(); err != ErrReplaced {
		t.Errorf("moved up: %v", err)
	}
	if err := os.Rename(filepath.Join(top, "up"), filepath.Join(top, "deeper", "deeper")); err != nil {
		t.Fatal(err)
	}
	if err := tree.check(); err != nil {
		t.Errorf("moved back: %v", err)
	}
	var freed Freed
	if err := tree.Empty("", &freed, nil); err != nil || freed.Files != 2*levels {
		t.Errorf("%v; %d removed", err, freed.Files)
	}
}

// The way up leads to where it led down from, or nowhere.
func TestLeaveWhatWasMoved(t *testing.T) {
	root := t.TempDir()
	top := filepath.Join(root, "top")
	if err := os.MkdirAll(top, 0o755); err != nil {
		t.Fatal(err)
	}
	deepen(t, top, 2*maxOpen)
	tree := openTestTree(t, root, "top")
	for range 2 * maxOpen {
		if err := tree.enter("deeper"); err != nil {
			t.Fatal(err)
		}
	}
	for tree.depth() > maxOpen+1 { // to the last that is open
		if reopened, err := tree.leave(); err != nil || reopened {
			t.Fatal(reopened, err)
		}
	}
	if err := os.Rename(filepath.Join(top, strings.Repeat("deeper/", maxOpen+1)), filepath.Join(root, "moved")); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.leave(); err != ErrReplaced {
		t.Errorf("error %v", err)
	}
}

package prune

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"runtimegc/registry/daemondir/daemondirtest"
)

// nobodyID is the user and group that tests become when they are root.
const nobodyID = 65534

// ordinaryUsersTest returns a command that runs the test of that name as an ordinary user,
// who may go to the test's temporary directories. We must be root.
func ordinaryUsersTest(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	home := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// A copy, because where it lies only its maker may go.
	tests := filepath.Join(home, "prune.test")
	if err := daemondirtest.CopyProgram(tests, self); err != nil {
		t.Fatal(err)
	}
	for dir := home; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(home, nobodyID, nobodyID); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tests, "-test.run=^"+name+"$")
	cmd.Dir = home
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:  syscall.SIGKILL,
		Credential: &syscall.Credential{Uid: nobodyID, Gid: nobodyID},
	}
	cmd.Env = append(os.Environ(), "HOME="+home, "TMPDIR="+home)
	return cmd
}

package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"runtimegc/registry/daemondir/daemondirtest"
)

// Most users are no root: leases, pidfds, /proc and hard links answer them otherwise.
// The main scenarios run again as one, daemons and all.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("is one already")
	}
	if testing.Short() {
		t.Skip("the same tests once more")
	}
	t.Parallel()
	home := filepath.Join(t.TempDir(), "home")
	noError(t, os.Mkdir(home, 0o755))
	// A copy, because a file of root's may not be linked by others.
	tests := filepath.Join(home, "integration.test")
	noError(t, daemondirtest.CopyProgram(tests, ownProgram(t)))
	attr := ordinaryUser(t, home)
	again := []string{"TestBirthRefreshExitRemoval", "TestRespawn", "TestZombie", "TestRefreshAddsTheNumber"}
	cmd := exec.Command(tests, "-test.v", "-test.run", "^("+strings.Join(again, "|")+")$")
	cmd.Dir = home
	cmd.SysProcAttr = attr
	cmd.Env = append(prebuilt(t), "HOME="+home, "TMPDIR="+home)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("as user %d: %v\n%s", nobodyID, err, out)
	}
	for _, name := range again {
		if !strings.Contains(string(out), "--- PASS: "+name+" ") {
			t.Errorf("%s did not run as user %d\n%s", name, nobodyID, out)
		}
	}
}

package daemondir

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// While a process is stopped (SIGSTOP, a debugger, the freezer), nothing can answer it.
func TestWithinAProcessThatIsStopped(t *testing.T) {
	if !daemondirtest.InChild(t, 0) {
		return
	}
	const limit = time.Second
	stop := exec.Command("sh", "-c", fmt.Sprintf("kill -STOP %d; sleep 2; kill -CONT %[1]d", os.Getpid()))
	began := time.Now()
	_, ok := Within(limit, t.Name(), func() error {
		err := stop.Run()
		time.Sleep(limit / 10)
		return err
	})
	if took := time.Since(began); !ok || took < 2*limit {
		t.Errorf("answered: %v, after %v", ok, took)
	}
}

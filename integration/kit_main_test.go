package integration

import (
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// trampolineEnv makes the test binary a trampoline, the process of a daemon: it waits
// to be killed. Set to ignoreTerm it takes nothing less than SIGKILL, as a daemon in
// trouble does.
const (
	trampolineEnv = "GCTEST_TRAMPOLINE"
	ignoreTerm    = "ignore-term"
)

func TestMain(m *testing.M) {
	if runBare() || runUser() || runInNamespace() {
		return
	}
	daemondirtest.Trampoline()
	if as := os.Getenv(trampolineEnv); as != "" {
		if as == ignoreTerm {
			signal.Ignore(syscall.SIGTERM, os.Interrupt)
		}
		for {
			time.Sleep(time.Hour)
		}
	}
	// Whoever runs the tests may have a daemon.toml.
	os.Setenv("RUNTIMEGC_CONFIG", os.DevNull)
	// The shell that runs the tests may export it.
	os.Unsetenv("COLUMNS")
	// The race detector has every program under test sleep for a second at its end.
	os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	// Most tests wait for timers or for other processes most of the time, less so under the race
	// detector.
	if raceEnabled {
		daemondirtest.AtOnce(1 + runtime.GOMAXPROCS(0))
	} else {
		daemondirtest.AtOnce(6 + runtime.GOMAXPROCS(0))
	}
	code := m.Run()
	shared.remove()
	os.Exit(code)
}

// notUnderRace skips a test that starts a hundred short-lived processes, or none of ours: under the
// race detector that takes minutes, and others make the same passes.
func notUnderRace(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("other tests look for the same races")
	}
}

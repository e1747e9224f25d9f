package integration

// What a service manager is told: the tests are the manager.

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// serviceManager hears what its service tells it.
type serviceManager struct {
	t    *testing.T
	path string
	told chan string // one message each
}

func newServiceManager(t *testing.T) *serviceManager {
	t.Helper()
	// Not below TempDir: the name of a socket has 107 bytes.
	dir, err := os.MkdirTemp("", "notify-")
	if err != nil {
		t.Fatal(err)
	}
	m := &serviceManager{t: t, path: filepath.Join(dir, "socket"), told: make(chan string, 10_000)}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		os.RemoveAll(dir)
	})
	go func() {
		message := make([]byte, 4096)
		for {
			n, err := conn.Read(message)
			if err != nil {
				return
			}
			m.told <- string(message[:n])
		}
	}()
	return m
}

// start starts a watch as a service, with a watchdog that wants an answer every 200 ms
// and is answered every 100.
func (m *serviceManager) start(stderr *os.File, args ...string) *exec.Cmd {
	m.t.Helper()
	return startTo(m.t, stderr, func(cmd *exec.Cmd) {
		cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+m.path, "WATCHDOG_USEC=200000")
	}, append([]string{"watch", "--log-format", "json"}, args...)...)
}

// await waits for a message that has that in it, and returns those up to it.
func (m *serviceManager) await(what string) (before []string) {
	m.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case message := <-m.told:
			before = append(before, message)
			if strings.Contains(message, what) {
				return before
			}
		case <-deadline:
			m.t.Fatalf("the service did not tell %q within %v, but %d others, the last %q", what, patience, len(before), before[max(0, len(before)-5):])
		}
	}
}

// The messages of a service's life, in their order.
func TestServiceNotifies(t *testing.T) {
	t.Parallel()
	for rule, exists := range map[string]bool{"a root": true, "no root": false} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			root := runtimeRoot(t)
			if exists {
				newSpawner(t, root).dead("a", time.Minute)
			} else {
				root += "/none"
			}
			m := newServiceManager(t)
			cmd := m.start(nil, "--root", root)
			if before := m.await("READY=1"); len(before) != 1 {
				t.Errorf("told before it was ready: %q", before)
			}
			count := map[bool]string{true: "1", false: "0"}[exists]
			m.await("STATUS=watching " + count + " daemon dirs in 1 root")
			for range 3 {
				m.await("WATCHDOG=1")
			}
			noError(t, cmd.Process.Signal(syscall.SIGHUP))
			if last := m.await("RELOADING=1"); !strings.Contains(last[len(last)-1], "MONOTONIC_USEC=") {
				t.Errorf("a reload without its time: %q", last)
			}
			m.await("READY=1")
			noError(t, cmd.Process.Signal(syscall.SIGTERM))
			m.await("STOPPING=1")
			if code := waitFor(t, cmd); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
		})
	}
}

// One that cannot begin is never ready.
func TestServiceThatFailsIsNotReady(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	holder := startWatch(t, root)
	holder.next("root.found", "")
	m := newServiceManager(t)
	if code := waitFor(t, m.start(nil, "--root", root)); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if before := m.await("STOPPING=1"); len(before) != 1 {
		t.Errorf("told %q", before)
	}
	holder.stop(syscall.SIGTERM)
}

// A crash, and the SIGABRT of a watchdog, end it by a signal, which service managers take for
// a failure, and not with the code of wrong usage. There is no core dump, and no secret in the
// traces.
func TestCrashEndsBySignal(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGABRT, syscall.SIGSEGV} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			root := runtimeRoot(t)
			s := newSpawner(t, root)
			s.spawn("a")
			var stderr daemondirtest.Log
			cmd := exec.Command("sh", "-c", `ulimit -S -c "$(ulimit -H -c)"; exec "$0" "$@"`,
				binary(t), "watch", "--log-format", "json", "--root", root)
			cmd.Dir = t.TempDir()
			cmd.Env = append(os.Environ(), "GOTRACEBACK=single")
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			cmd.Stderr = &stderr
			noError(t, cmd.Start())
			late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
			defer late.Stop()
			daemondirtest.Eventually(t, "the daemon is seen", func() bool {
				return strings.Contains(stderr.String(), `"daemon.live"`) || cmd.Process.Signal(syscall.Signal(0)) != nil
			})
			noError(t, cmd.Process.Signal(sig))
			_ = cmd.Wait() // its state says more
			status := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if !status.Signaled() || status.Signal() != syscall.SIGABRT || status.CoreDump() {
				t.Errorf("it ended with %v, want a SIGABRT without a core dump", cmd.ProcessState)
			}
			if cores, _ := os.ReadDir(cmd.Dir); len(cores) > 0 {
				t.Errorf("it left %v", cores)
			}
			traces := stderr.String()
			if !strings.Contains(traces, "runtimegc/watcher.") {
				t.Errorf("there are no traces:\n%s", tail(traces, 2_000))
			}
			checkSecrets(t, "the traces", traces)
		})
	}
}

// A reader of --log-file that stands still, here of a FIFO, does not hold up the reload that
// reopens it.
func TestReloadWhileNobodyReadsTheLogFile(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	fifo := filepath.Join(t.TempDir(), "log")
	noError(t, unix.Mkfifo(fifo, 0o600))
	r, err := os.OpenFile(fifo, os.O_RDWR, 0) // or the program would wait for a reader before it starts
	noError(t, err)
	defer r.Close()
	narrow(t, r)
	fill(t, root, 100, daemondirtest.Sidecar(ago(time.Minute), time.Time{}), noProcess)
	m := newServiceManager(t)
	cmd := m.start(nil, "--root", root, "--log-file", fifo)
	m.await("STATUS=watching 100 daemon dirs in 1 root")
	daemondirtest.Eventually(t, "the FIFO is full", func() bool {
		n, err := unix.IoctlGetInt(int(r.Fd()), unix.TIOCINQ)
		noError(t, err)
		return n > 3000 // and no line of 100 more fits
	})
	for range 2 {
		noError(t, cmd.Process.Signal(syscall.SIGHUP))
		m.await("RELOADING=1")
		m.await("READY=1")
	}
	m.await("WATCHDOG=1")
	noError(t, cmd.Process.Signal(syscall.SIGTERM))
	mustEndInTime(t, cmd, 1)
}

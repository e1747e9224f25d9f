package proc

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

// leaderlessVar makes the test binary a process whose first thread exits. It ends with its
// standard input.
const leaderlessVar = "GCTEST_LEADERLESS"

func init() {
	if os.Getenv(leaderlessVar) == "" {
		return
	}
	runtime.LockOSThread() // the first thread
	go func() {
		os.Stdout.WriteString("ready\n")
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}()
	syscall.Syscall(syscall.SYS_EXIT, 0, 0, 0) // only this thread; nothing runs after it
}

// A process is alive as long as one of its threads runs, although ps(1) shows a zombie when the
// first has exited (proc_pid_status(5): the state is that thread's).
func TestFirstThreadIsAZombie(t *testing.T) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), leaderlessVar+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if line, _ := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		t.Fatalf("it says %q", line)
	}
	daemondirtest.Eventually(t, "its first thread is a zombie", func() bool {
		status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "status"))
		return err == nil && strings.Contains(string(status), "\nState:\tZ")
	})
	q := Query{Dir: t.TempDir(), Settles: func(start daemondir.Timestamp) bool { return start.Known }}
	for how, inspect := range map[string]func(uint32, Query) (Facts, Handle){
		"with a handle": inspect,
		"by number":     func(pid uint32, q Query) (Facts, Handle) { return inspectByNumber(pid, q), NoHandle },
	} {
		t.Run(how, func(t *testing.T) {
			ask := func() Facts {
				f, h := inspect(uint32(cmd.Process.Pid), q)
				h.Close()
				return f
			}
			if f := ask(); !f.Exists || f.Zombie || f.Thread || f.Err != nil || !f.Settled {
				t.Errorf("%+v; it runs", f)
			}
		})
	}
	stdin.Close()
	daemondirtest.Eventually(t, "all of it is a zombie", func() bool {
		return inspectByNumber(uint32(cmd.Process.Pid), q).Zombie
	})
}

// A process whose first thread is a zombie runs as long as it has one other.
func TestZombieByItsThreads(t *testing.T) {
	_, cmd := daemondirtest.MakeLive(t, t.TempDir(), "a")
	proc := t.TempDir()
	t.Setenv("HOST_PROC", proc)
	pid := strconv.Itoa(cmd.Process.Pid)
	if err := os.Mkdir(filepath.Join(proc, pid), 0o755); err != nil {
		t.Fatal(err)
	}
	for threads, zombie := range map[int]bool{1: true, 2: false} {
		status := fmt.Sprintf("Name:\ta\nState:\tZ (zombie)\nTgid:\t%s\nThreads:\t%d\n", pid, threads)
		if err := os.WriteFile(filepath.Join(proc, pid, "status"), []byte(status), 0o644); err != nil {
			t.Fatal(err)
		}
		f := inspectByNumber(uint32(cmd.Process.Pid), Query{Dir: t.TempDir()})
		if !f.Exists || f.Err != nil || f.Zombie != zombie {
			t.Errorf("of %d threads: %+v", threads, f)
		}
	}
}

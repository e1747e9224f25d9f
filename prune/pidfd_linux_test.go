//go:build !portable

package prune

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/shirou/gopsutil/v3/process"
	"golang.org/x/sys/unix"
)

func TestProbeThread(t *testing.T) {
	tids, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Skip(err)
	}
	for _, entry := range tids {
		if entry.Name() == strconv.Itoa(os.Getpid()) {
			continue
		}
		now := time.Now().UnixMilli()
		d := newDir(t, t.TempDir(), "thread", sidecarText(now, now), entry.Name())
		wantLiveness(t, d, Dead, PIDReused)
		tid, _ := strconv.Atoi(entry.Name())
		f := inspectByNumber(uint32(tid), nil, func(string) whereabouts { return exeUnknown })
		if !f.thread {
			t.Errorf("without a pidfd a thread is not told: %+v", f)
		}
		return
	}
	t.Skip("no second thread")
}

func TestProbeByNumber(t *testing.T) {
	d, cmd := newLive(t, t.TempDir(), "live")
	e := d.entry()
	ask := func() Liveness {
		f := inspectByNumber(e.PID.N, nil, func(exe string) whereabouts { return locate(exe, d.path(), e.Dir) })
		return classify(f, e.SpawnedAt, time.Now())
	}
	if l := ask(); l.State != Alive {
		t.Errorf("live: %+v", l)
	}
	_ = cmd.Process.Kill()
	eventually(t, "a zombie", func() bool { return ask().Reason == Zombie })
	_ = cmd.Wait()
	if l := ask(); l.State != Dead || l.Reason != Exited {
		t.Errorf("gone: %+v", l)
	}
}

func TestProbeUnderHostProc(t *testing.T) {
	proc := t.TempDir()
	if err := os.Mkdir(filepath.Join(proc, strconv.Itoa(deadPID)), 0o755); err != nil {
		t.Fatal(err)
	}
	d := newDir(t, t.TempDir(), "hosted", sidecarText(1, 1), strconv.Itoa(deadPID))
	wantLiveness(t, d, Dead, Exited)
	t.Setenv("HOST_PROC", proc)
	wantLiveness(t, d, Unknown, UnknownLiveness)
}

func TestExitIsAnnounced(t *testing.T) {
	x, err := newExits()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { x.run(); close(done) }()
	var cmds []*exec.Cmd
	for _, name := range []string{"a", "b", "c"} {
		d, cmd := newLive(t, t.TempDir(), name)
		e := d.entry()
		h := testProber.probe(e, e.PID, d.path())
		if h.State != Alive || h.fd < 0 {
			t.Fatalf("%s: %+v", name, h)
		}
		t.Cleanup(h.release)
		if err := x.add(h.fd, name); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	for i, name := range []string{"a", "b", "c"} {
		_ = cmds[i].Process.Signal(syscall.SIGKILL)
		select {
		case got := <-x.c:
			if got.name != name || got.at.IsZero() {
				t.Errorf("announced %q at %v, want %q", got.name, got.at, name)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("the exit of %q is not announced", name)
		}
	}
	x.close()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("run does not end")
	}
}

func TestExitsLeaveRoom(t *testing.T) {
	x, err := newExits()
	if err != nil {
		t.Fatal(err)
	}
	defer x.close()
	var rlimit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &rlimit); err != nil {
		t.Fatal(err)
	}
	x.limit = reservedFDs + 1
	if !x.room() {
		t.Error("no room for the first")
	}
	x.names[0] = "one"
	if x.room() {
		t.Error("room beyond the reserve")
	}
}

// A start is within a clock tick of what it was, whatever the process calls itself, and
// within the second that gopsutil cuts off of what that says.
func TestStartOf(t *testing.T) {
	before := time.Now()
	_, cmd := newLive(t, t.TempDir(), "1 2) 3 (S 4")
	after := time.Now()
	p := &process.Process{Pid: int32(cmd.Process.Pid)}
	got, err := startOf(p)
	if err != nil {
		t.Fatal(err)
	}
	const tick = 1000 / ticksPerSecond
	if got < before.UnixMilli()-2*tick || got > after.UnixMilli()+2*tick {
		t.Errorf("started at %d, was made between %d and %d", got, before.UnixMilli(), after.UnixMilli())
	}
	other, err := p.CreateTime()
	if err != nil || got-other < -100 || got-other > 2100 {
		t.Errorf("started at %d, gopsutil says %d, %v", got, other, err)
	}
	if _, err := startOf(&process.Process{Pid: deadPID}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of no process: %v", err)
	}
}

func TestStartTicks(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"
	for stat, want := range map[string]int64{"1 (a)" + rest: 4711, "1 (a) R 9)" + rest: 4711, "1 (\n)" + rest: 4711} {
		if got, err := startTicks([]byte(stat)); err != nil || got != want {
			t.Errorf("%q: %d, %v", stat, got, err)
		}
	}
	for _, stat := range []string{"", "1 (a)", "1 (a) S 1 2 3", "1 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x"} {
		if got, err := startTicks([]byte(stat)); err == nil {
			t.Errorf("%q: %d", stat, got)
		}
	}
}

//go:build !portable

package proc

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shirou/gopsutil/v3/process"

	"runtimegc/registry/daemondir"
	"runtimegc/registry/daemondir/daemondirtest"
)

func TestMain(m *testing.M) { daemondirtest.Main(m) }

// start starts a process whose program is name in a dir of its own.
func start(t *testing.T, name string) (q Query, cmd *exec.Cmd) {
	t.Helper()
	d, cmd := daemondirtest.MakeLive(t, t.TempDir(), name)
	dir, err := daemondir.Open(d.Root, d.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	return Query{Dir: d.Path(), ID: dir.ID()}, cmd
}

// With a pidfd and without, the same is told of the same process.
func TestInspect(t *testing.T) {
	for how, inspect := range map[string]func(uint32, Query) (Facts, Handle){
		"with a pidfd": inspect,
		"by number":    func(pid uint32, q Query) (Facts, Handle) { return inspectByNumber(pid, q), NoHandle },
	} {
		t.Run(how, func(t *testing.T) {
			q, cmd := start(t, "a")
			ask := func() Facts {
				f, h := inspect(uint32(cmd.Process.Pid), q)
				h.Close()
				return f
			}
			if f := ask(); !f.Exists || f.Zombie || f.Thread || !f.Start.Known || f.Exe != ExeInside || f.Settled {
				t.Errorf("live: %+v", f)
			}
			q.Settles = func(daemondir.Timestamp) bool { return true }
			if f := ask(); !f.Settled || f.Exe != ExeUnknown {
				t.Errorf("settled by its start: %+v", f)
			}
			_ = cmd.Process.Kill()
			daemondirtest.Eventually(t, "a zombie", func() bool { return ask().Zombie })
			_ = cmd.Wait()
			if f := ask(); f.Exists || f.Zombie {
				t.Errorf("gone: %+v", f)
			}
		})
	}
}

// What does not name a process tells of no exit: that would be one of a live daemon.
func TestNoHandleHasNotExited(t *testing.T) {
	for _, h := range []Handle{NoHandle, 1 << 30} {
		if exited, zombie := h.Exited(); exited || zombie {
			t.Errorf("%d: exited %v, a zombie %v", h, exited, zombie)
		}
	}
}

func TestInspectThread(t *testing.T) {
	tids, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Skipf("no /proc: %v", err)
	}
	for _, entry := range tids {
		if entry.Name() == strconv.Itoa(os.Getpid()) {
			continue
		}
		tid, _ := strconv.Atoi(entry.Name())
		f, h := inspect(uint32(tid), Query{})
		h.Close()
		if !f.Thread || h != NoHandle {
			t.Errorf("%+v, handle %d", f, h)
		}
		if f := inspectByNumber(uint32(tid), Query{}); !f.Thread {
			t.Errorf("without a pidfd: %+v", f)
		}
		return
	}
	t.Skip("no second thread")
}

// A start is within a clock tick of what it was, whatever the process calls itself, and
// within the second that gopsutil cuts off of what that says.
func TestStartOf(t *testing.T) {
	before := time.Now()
	_, cmd := start(t, "1 2) 3 (S 4")
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
	if _, err := startOf(&process.Process{Pid: daemondirtest.DeadPID}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of no process: %v", err)
	}
}

func TestStatField(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"
	for stat, want := range map[string]int64{"1 (a)" + rest: 4711, "1 (a) R 9)" + rest: 4711, "1 (\n)" + rest: 4711} {
		if got, err := statField([]byte(stat), 22); err != nil || got != want {
			t.Errorf("%q: %d, %v", stat, got, err)
		}
	}
	for _, stat := range []string{"", "1 (a)", "1 (a) S 1 2 3", "1 (a) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x"} {
		if got, err := statField([]byte(stat), 22); err == nil {
			t.Errorf("%q: %d", stat, got)
		}
	}
}

// passesAsUser has an ordinary user run this test, which must not be skipped.
func passesAsUser(t *testing.T) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Dir = "/"
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
}

// Another user's process cannot be inspected, but whose it is is known. Root, who may inspect
// every process, has an ordinary user do this.
func TestForeign(t *testing.T) {
	if os.Geteuid() == 0 {
		passesAsUser(t)
		return
	}
	for how, inspect := range map[string]func(uint32, Query) (Facts, Handle){
		"with a pidfd": inspect,
		"by number":    func(pid uint32, q Query) (Facts, Handle) { return inspectByNumber(pid, q), NoHandle },
	} {
		f, h := inspect(1, Query{Dir: t.TempDir()})
		h.Close()
		if !f.Exists || f.Exe != ExeUnknown || !f.Foreign {
			t.Errorf("%s, pid 1: %+v; it is another user's", how, f)
		}
		for dir, whose := range map[string]string{t.TempDir(): "our own", "/no/such/dir": "whose the directory is is not known"} {
			f, h = inspect(uint32(os.Getpid()), Query{Dir: dir})
			h.Close()
			if f.Foreign {
				t.Errorf("%s, %s: %+v", how, whose, f)
			}
		}
		pid, _ := startUser(t, "not dumpable", "", 0)
		f, h = inspect(uint32(pid), Query{Dir: t.TempDir()})
		h.Close()
		if f.Exe != ExeUnknown || f.Foreign {
			t.Errorf("%s, one of our own that may not be inspected: %+v", how, f)
		}
		f, h = inspect(1, Query{Dir: "/no/such/dir"})
		h.Close()
		if f.Exe != ExeUnknown || f.Foreign {
			t.Errorf("%s, pid 1 and no directory: %+v", how, f)
		}
		f, h = inspect(1, Query{Dir: "/"})
		h.Close()
		if f.Exe != ExeUnknown || f.Foreign {
			t.Errorf("%s, pid 1 and a directory of its user: %+v", how, f)
		}
	}
}

// Of the users of a process its effective one counts.
func TestForeignByTheEffectiveUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("becoming another user takes root")
	}
	pid, _ := startUser(t, "effective user", "", 0)
	_, h := inspect(uint32(pid), Query{})
	defer h.Close()
	for uid, want := range map[int]bool{0: true, 65534: false} {
		q := Query{Dir: t.TempDir()}
		if err := os.Chown(q.Dir, uid, uid); err != nil {
			t.Fatal(err)
		}
		if got := q.foreign(uint32(pid), h); got != want {
			t.Errorf("with a pidfd, a directory of user %d: foreign %v", uid, got)
		}
		if got := q.foreign(uint32(pid), NoHandle); got != want {
			t.Errorf("by number, a directory of user %d: foreign %v", uid, got)
		}
	}
}

// Whose a process is counts only if it is not known where its program lies: a daemon may have
// changed its user.
func TestForeignOnlyIfTheProgramIsUnknown(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("starting another user's process takes root")
	}
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if err := cmd.Start(); err != nil {
		t.Skipf("no other user's process: %v", err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for how, inspect := range map[string]func(uint32, Query) (Facts, Handle){
		"with a pidfd": inspect,
		"by number":    func(pid uint32, q Query) (Facts, Handle) { return inspectByNumber(pid, q), NoHandle },
	} {
		q := Query{Dir: t.TempDir()}
		f, h := inspect(uint32(cmd.Process.Pid), q)
		h.Close()
		if f.Exe != ExeElsewhere || f.Foreign {
			t.Errorf("%s: %+v, want one whose program is elsewhere", how, f)
		}
		q.Settles = func(daemondir.Timestamp) bool { return true }
		f, h = inspect(uint32(cmd.Process.Pid), q)
		h.Close()
		if !f.Settled || f.Foreign {
			t.Errorf("%s: %+v, want one that is settled", how, f)
		}
	}
}

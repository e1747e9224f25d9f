//go:build !portable

package prune

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir"

	"golang.org/x/sys/unix"
)

const hidepidVar = "RUNTIMEGC_TEST_HIDEPID"

func TestProbeUnderHidepid(t *testing.T) {
	switch stage, pid, _ := strings.Cut(os.Getenv(hidepidVar), ":"); stage {
	case "mount": // in a mount namespace of its own
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("proc", "/proc", "proc", 0, "hidepid=2"); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestProbeUnderHidepid$", "-test.v")
		cmd.Env = append(os.Environ(), hidepidVar+"=probe:"+pid)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Dir = "/"
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Fatal(err)
		}
	case "probe": // as an ordinary user
		n, _ := strconv.ParseUint(pid, 10, 32)
		if _, err := os.Stat("/proc/" + pid); err == nil {
			t.Fatal("the process is not hidden")
		}
		nowhere := func(string) whereabouts { return exeUnknown }
		f, fd := inspect(uint32(n), nil, nowhere)
		if fd >= 0 {
			unix.Close(fd)
		}
		for how, f := range map[string]facts{"with a pidfd": f, "by number": inspectByNumber(uint32(n), nil, nowhere)} {
			if l := classify(f, daemondir.At(1), time.Now()); l.State != Unknown {
				t.Errorf("%s: %+v, want unknown", how, l)
			}
		}
	default:
		if os.Geteuid() != 0 {
			t.Skip("mounting takes root")
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestProbeUnderHidepid$", "-test.v")
		cmd.Env = append(os.Environ(), hidepidVar+"=mount:"+strconv.Itoa(os.Getpid()))
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Skipf("no mount namespace: %v", err)
		}
		if err != nil || strings.Count(string(out), "--- PASS: TestProbeUnderHidepid") != 2 {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

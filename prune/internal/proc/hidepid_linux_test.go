//go:build !portable

package proc

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// hidepidVar makes the test binary a stage of TestProbeUnderHidepid.
const hidepidVar = "GCTEST_HIDEPID"

// Under hidepid=2 another user's process is not in /proc at all; kill(2) and pidfd_open(2)
// know better.
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
		dir := t.TempDir()
		f, h := inspect(uint32(n), Query{Dir: dir})
		if info := (unix.PidfdInfo{Mask: unix.PIDFD_INFO_CREDS}); unix.IoctlPidfdInfo(int(h), &info) == nil && !f.Foreign {
			t.Errorf("with a pidfd: %+v; it is another user's", f)
		}
		h.Close()
		if !f.Exists || f.Zombie || f.Thread || f.Start.Known || f.Exe != ExeUnknown {
			t.Errorf("with a pidfd: %+v; it exists, and more is not known", f)
		}
		if f := inspectByNumber(uint32(n), Query{}); !f.Exists || f.Err == nil {
			t.Errorf("by number: %+v; it exists, and more is not known", f)
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

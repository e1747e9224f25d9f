//go:build !portable

package proc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the kernel refuses, as an old one does, or a seccomp filter, is not known, and nothing is
// made up in its place.
func TestSystemCallsAreRefused(t *testing.T) {
	q, cmd := start(t, "a")
	pid := cmd.Process.Pid
	refusing(t, unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, func() {
		f, h := inspect(uint32(pid), q)
		h.Close()
		if !f.Exists || f.Start.Known || f.Problem == nil || f.Exe != ExeInside {
			t.Errorf("without the time since boot: %+v", f)
		}
		if NewClock().Stepped() {
			t.Error("without the time since boot the clock was set")
		}
	})
	refusing(t, unix.SYS_PIDFD_OPEN, pid, func() {
		f, h := inspect(uint32(pid), q)
		h.Close()
		if !f.Exists || !f.Start.Known || f.Exe != ExeInside || h != NoHandle {
			t.Errorf("without a pidfd: %+v, handle %d", f, h)
		}
	})
	refusing(t, unix.SYS_PIDFD_OPEN, os.Getpid(), func() {
		x, err := NewExits()
		if x != nil {
			x.Close()
		}
		if x != nil || !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("exits are announced without pidfds: %v", err)
		}
	})
}

// refusing runs f in a thread for which the system call of that number and first argument does not
// exist (seccomp(2)), or skips the test.
func refusing(t *testing.T, call uintptr, argument int, f func()) {
	t.Helper()
	install := func() error {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
		low := uint32(16) // of the first argument in seccomp_data
		if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
			low += 4
		}
		filter := []unix.SockFilter{
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // seccomp_data.nr
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(call), Jf: 3},
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: low},
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(argument), Jf: 1},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		}
		program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		if _, _, errno := unix.Syscall(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program))); errno != 0 {
			return errno
		}
		if _, _, errno := unix.Syscall(call, uintptr(argument), 0, 0); errno != unix.ENOSYS {
			return fmt.Errorf("the call answers %v", errno)
		}
		return nil
	}
	ended := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends, and its filter with it
		err := install()
		if err == nil {
			f()
		}
		ended <- err
	}()
	if err := <-ended; err != nil {
		t.Skipf("no seccomp filter: %v", err)
	}
}

package integration

// What the benchmarks measure the program against: bare watches that do nothing else.

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// bareEnv makes the test binary the floor of notice latency: one thread that waits in
// the kernel and says what it hears, and knows nothing. Its value is "<what> <where>":
//
//	births <root>  inotify on root and the dirs in it, a line for each pid file written
//	exits <pid>    one pidfd in an epoll, a line when the process exits
//	files <root>   births, and every file in a dir is read once
//	cost           no loop: what a command costs, given as arguments
const bareEnv = "GCTEST_BARE"

// runBare is such a loop, if that is what this process was started as.
func runBare() bool {
	what := os.Getenv(bareEnv)
	if what == "" {
		return false
	}
	runtime.LockOSThread()
	kind, where, _ := strings.Cut(what, " ")
	switch kind {
	case "cost":
		bareCost(os.Args[1:])
	case "exits":
		bareExits(where)
	default:
		bareBirths(where, kind == "files")
	}
	return true
}

// bareBirths is a bare inotify loop.
func bareBirths(root string, read bool) {
	fd := must(unix.InotifyInit1(unix.IN_CLOEXEC))
	dirs := map[int32]string{}
	pages := make([]byte, 1<<20)
	said := make(map[string]bool)
	look := func(dir string) {
		path := filepath.Join(dir, "daemon.pid")
		f, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return
		}
		n, _ := unix.Read(f, pages)
		unix.Close(f)
		if n <= 0 || said[dir] {
			return
		}
		said[dir] = true
		if read {
			if f, err := unix.Open(filepath.Join(dir, filepath.Base(dir)+".daemon.json"), unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
				unix.Read(f, pages)
				unix.Close(f)
			}
		}
		os.Stderr.WriteString("born " + filepath.Base(dir) + "\n")
	}
	top := must(unix.InotifyAddWatch(fd, root, unix.IN_CREATE|unix.IN_ONLYDIR))
	os.Stderr.WriteString("ready\n")
	buf := make([]byte, 1<<16)
	for {
		n := must(unix.Read(fd, buf))
		for at := 0; at < n; {
			ev := (*unix.InotifyEvent)(unsafe.Pointer(&buf[at]))
			name := strings.TrimRight(string(buf[at+unix.SizeofInotifyEvent:at+unix.SizeofInotifyEvent+int(ev.Len)]), "\x00")
			at += unix.SizeofInotifyEvent + int(ev.Len)
			if int(ev.Wd) == top {
				dir := filepath.Join(root, name)
				if wd, err := unix.InotifyAddWatch(fd, dir, unix.IN_MODIFY); err == nil {
					dirs[int32(wd)] = dir
					look(dir) // what was there before the watch
				}
			} else if name == "daemon.pid" {
				look(dirs[ev.Wd])
			}
		}
	}
}

// bareExits is a bare pidfd in a bare epoll.
func bareExits(pid string) {
	pidfd := must(unix.PidfdOpen(must(strconv.Atoi(pid)), 0))
	epfd := must(unix.EpollCreate1(unix.EPOLL_CLOEXEC))
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, pidfd, &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
		panic(err)
	}
	os.Stderr.WriteString("ready\n")
	events := make([]unix.EpollEvent, 1)
	for {
		// Go's runtime sends itself signals, and epoll_wait(2) is not taken up again.
		if n, err := unix.EpollWait(epfd, events, -1); err != unix.EINTR {
			must(n, err)
			break
		}
	}
	os.Stderr.WriteString("exited\n")
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// startBare starts a bare loop and returns when it waits.
func startBare(b *testing.B, kind, where string) *quietWatch {
	b.Helper()
	cmd := exec.Command(ownProgram(b))
	cmd.Env = append(os.Environ(), bareEnv+"="+kind+" "+where)
	w := startLines(b, cmd)
	w.waitFor("ready")
	return w
}

// bear makes a daemon dir as a spawner does and returns when its pid file was closed.
// That of a daemon without the time of its spawn names any process.
func bear(b testing.TB, root, name, pid string) time.Time {
	daemondirtest.Make(b, root, name, benchSidecar(time.Time{}, time.Now()), pid)
	return time.Now()
}

// sleeping starts a small process that waits to be killed.
func sleeping(b *testing.B) *exec.Cmd {
	cmd := exec.Command("sleep", "1000")
	noError(b, cmd.Start())
	return cmd
}

// busy keeps as many processors busy as there are, until the benchmark ends.
func busy(b *testing.B) {
	for range runtime.NumCPU() {
		cmd := exec.Command("sh", "-c", "while :; do :; done")
		noError(b, cmd.Start())
		b.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
	}
}

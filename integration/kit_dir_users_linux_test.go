package integration

// Processes that use a directory until they are killed.

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// userEnv makes the test binary a user of a directory: it holds an order.
const userEnv = "GCTEST_USER"

// order is what a user does.
type order struct {
	Do   string    // see carryOut
	Path string    // of a file, as the user sees it
	Bind [2]string // mounts the first on the second before, if not empty
}

// runUser is a user, if the process is one.
func runUser() bool {
	text := os.Getenv(userEnv)
	if text == "" {
		return false
	}
	var o order
	err := json.Unmarshal([]byte(text), &o)
	check := func() error { return err }
	if err == nil {
		var still func() error
		if still, err = o.carryOut(); err == nil {
			check = still
		}
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if err := check(); err != nil {
			fmt.Println(o.Do+":", err)
		} else {
			fmt.Println(in.Text())
		}
	}
	return true
}

// carryOut begins the use, and returns what tells whether it is still what it was.
func (o order) carryOut() (still func() error, err error) {
	if o.Bind[0] != "" {
		if err := unix.Mount(o.Bind[0], o.Bind[1], "", unix.MS_BIND, ""); err != nil {
			return nil, fmt.Errorf("mounting: %w", err)
		}
	}
	dir := filepath.Dir(o.Path)
	switch o.Do {
	case "work":
		return linked(func(st *unix.Stat_t) error { return unix.Stat(".", st) }), os.Chdir(dir)
	case "chroot":
		return linked(func(st *unix.Stat_t) error { return unix.Stat("/", st) }), syscall.Chroot(dir)
	case "read":
		return hold(o.Path, unix.O_RDONLY)
	case "write":
		return hold(o.Path, unix.O_RDWR)
	case "map":
		fd, err := unix.Open(o.Path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		_, err = unix.Mmap(fd, 0, 1, unix.PROT_READ, unix.MAP_SHARED)
		return silent, errors.Join(err, unix.Close(fd))
	case "bind":
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrUnix{Name: o.Path})
		}
		if err == nil { // that it is bound must show, not that it is new
			err = unix.UtimesNanoAt(unix.AT_FDCWD, o.Path, make([]unix.Timespec, 2), unix.AT_SYMLINK_NOFOLLOW)
		}
		return silent, err
	case "lock", "lock in flight":
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Flock(fd, unix.LOCK_SH)
		}
		if err != nil || o.Do == "lock" {
			return silent, err
		}
		// Sent, and not received: it is open, and nobody has it.
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Sendmsg(pair[0], []byte("lock"), unix.UnixRights(fd), nil, 0)
		}
		return silent, errors.Join(err, unix.Close(fd))
	case "log":
		err := o.logLine()
		failed := make(chan error, 1)
		go func() {
			for err := error(nil); err == nil; {
				time.Sleep(50 * time.Millisecond)
				if err = o.logLine(); err != nil {
					failed <- err
				}
			}
		}()
		return func() error {
			select {
			case err := <-failed:
				return err
			default:
				return nil
			}
		}, err
	}
	return nil, errors.New("no such order")
}

// logLine appends a line to the log, as a shell does.
func (o order) logLine() error {
	f, err := os.OpenFile(o.Path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString("a line\n")
	return errors.Join(err, f.Close())
}

// silent is for uses that cannot tell.
func silent() error { return nil }

// hold opens a file, or directory, for good.
func hold(path string, flags int) (still func() error, err error) {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	return linked(func(st *unix.Stat_t) error { return unix.Fstat(fd, st) }), err
}

// linked returns what tells whether a file, or directory, has not been removed.
func linked(stat func(*unix.Stat_t) error) (still func() error) {
	return func() error {
		var st unix.Stat_t
		err := stat(&st)
		if err == nil && st.Nlink == 0 {
			err = errors.New("it has been removed")
		}
		return err
	}
}

// dirUse is a use of a directory that has begun.
type dirUse interface {
	still() error // why it is no longer what it was
	end() error
}

// dirUser is a running user: a process that answers each line by the same.
type dirUser struct {
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

// startUser starts a process with an order, in namespaces of its own if flags say so, and
// returns when it has been carried out.
func startUser(o order, flags uintptr) (*dirUser, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{userEnv + "=" + string(text), "GOMAXPROCS=1"}
	cmd.SysProcAttr = inOwnNamespaces(flags)
	return startDirUser(cmd)
}

// startDirUser starts a process that answers.
func startDirUser(cmd *exec.Cmd) (*dirUser, error) {
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	u := &dirUser{cmd, in, bufio.NewReader(out)}
	if err := u.still(); err != nil {
		u.end()
		return nil, err
	}
	return u, nil
}

// still asks the user whether it still uses its directory, and whether nobody has taken it
// away.
func (u *dirUser) still() error {
	tooLong := time.AfterFunc(patience, func() { u.cmd.Process.Kill() })
	defer tooLong.Stop()
	if _, err := io.WriteString(u.in, "still\n"); err != nil {
		return err
	}
	switch line, err := u.out.ReadString('\n'); {
	case err != nil:
		return err
	case line != "still\n":
		return errors.New(line)
	}
	return nil
}

// end kills the user and waits for it.
func (u *dirUser) end() error {
	err := u.cmd.Process.Kill()
	u.cmd.Wait()
	return err
}

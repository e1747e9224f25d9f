package integration

// A real systemd, pid 1 of namespaces of its own, to try the units of the program under.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"

	"golang.org/x/sys/unix"
)

// systemdProgram is the same path wherever /usr is merged.
const systemdProgram = "/usr/lib/systemd/systemd"

// bootScript becomes systemd: BINARY TRAMPOLINE USER... It is pid 1 of a pid namespace, and in
// a directory that it makes the root: in memory, but for the host's /usr, which is read-only.
// The users' uids are those from firstUID on.
const bootScript = `
binary=$1 trampoline=$2
shift 2
umask 022
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$PWD"
cd "$PWD"
mkdir usr etc etc/pam.d etc/systemd etc/systemd/system run tmp proc sys dev home root opt mnt var
chmod 1777 tmp
cp "$binary" opt/runtimegc
cp "$trampoline" opt/trampoline
mount --rbind -o ro /usr usr
for dir in bin sbin lib lib64; do
	if [ -L /$dir ]; then cp -P /$dir .; fi
done
uid=` + firstUID + `
for user; do
	echo "$user:x:$uid:$uid::/home/$user:/bin/sh" >> etc/passwd
	echo "$user:x:$uid:" >> etc/group
	mkdir "home/$user"
	chown "$uid:$uid" "home/$user"
	uid=$((uid + 1))
done
cat /etc/passwd >> etc/passwd
cat /etc/group >> etc/group
cp /etc/os-release /etc/ld.so.cache etc
echo 0123456789abcdef0123456789abcdef > etc/machine-id
printf '%s\n' 'account required pam_permit.so' 'session optional pam_systemd.so' > etc/pam.d/systemd-user
printf '%s\n' 'auth required pam_deny.so' 'password required pam_deny.so' 'session required pam_permit.so' > etc/pam.d/other
# Nothing for a host, and the kernel stays as it is: there is one for all.
for unit in usr/lib/systemd/system/sysinit.target.wants/* usr/lib/systemd/system/multi-user.target.wants/* .../modprobe@.service; do
	case $unit in
	*/systemd-journald* | */dbus* | */systemd-logind*) ;;
	*) ln -s /dev/null "etc/systemd/system/${unit##*/}" ;;
	esac
done
mount -t proc proc proc
mount --bind -o ro proc/sys proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
	: > dev/$device
	mount --bind /dev/$device dev/$device
done
ln -s /proc/self/fd dev/fd
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=755 tmpfs run
pivot_root . mnt
cd /
umount -l /mnt
exec setpriv --bounding-set=-sys_module,-sys_time,-sys_rawio,-sys_boot env -i PATH=` + systemdPath + ` container=test ` + systemdProgram + ` --log-target=console --show-status=no --unit=multi-user.target
`

const (
	firstUID    = "471100"
	systemdPath = "/usr/bin:/usr/sbin"
)

// systemd is a running one. With it end its processes and mounts.
type systemd struct {
	t     *testing.T
	pid   int      // of pid 1, as seen from here
	users []string // the first has the uid firstUID
}

// bootSystemd boots a systemd with these users, or skips the test where that cannot be done.
func bootSystemd(t *testing.T, users ...string) *systemd {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("systemd as pid 1 of a namespace needs root")
	}
	for _, program := range []string{systemdProgram, "systemctl", "journalctl", "nsenter", "unshare"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("no systemd to be had (Debian: apt-get install systemd dbus libpam-systemd util-linux): %v", err)
		}
	}
	group := ownCgroup(t)
	args := append([]string{"--cgroup", "sh", "-euc", bootScript, "sh", binary(t), trampolineImage(t)}, users...)
	cmd := exec.Command("unshare", args...)
	cmd.Dir = t.TempDir()
	var console bytes.Buffer
	cmd.Stdout, cmd.Stderr = &console, &console
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET,
		UseCgroupFD: true, CgroupFD: int(group.Fd()), Pdeathsig: syscall.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("no namespaces for systemd to be had: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait() // how it ended does not matter: it was killed, or it did not boot
		close(ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	s := &systemd{t: t, pid: cmd.Process.Pid, users: users}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		select {
		case <-ended:
			t.Skipf("systemd does not boot in a namespace here: %s", &console)
		default:
		}
		if _, err := os.Stat(s.path("/run/systemd/private")); err != nil && time.Now().Before(deadline) {
			continue // nobody can be asked yet
		}
		if state, _ := s.run("", "systemctl", "is-system-running", "--wait"); state != "running" && state != "degraded" {
			t.Skipf("systemd in a namespace here is %q", state)
		}
		return s
	}
}

// ownCgroup makes a cgroup for the test, or skips the test where that cannot be done.
func ownCgroup(t *testing.T) *os.File {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	noError(t, err)
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(line, " - ")
		if !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		dir, err := os.MkdirTemp(strings.Fields(before)[4], "runtimegc-test-")
		if err != nil {
			t.Skipf("no cgroup for systemd to be had: %v", err)
		}
		noError(t, os.Chmod(dir, 0o755)) // systemd gives users parts of it
		t.Cleanup(func() {
			// From the leaves up: a cgroup with others in it is not removed.
			daemondirtest.EventuallyNone(t, func() string {
				var dirs []string
				_ = filepath.WalkDir(dir, func(path string, entry os.DirEntry, _ error) error {
					if entry != nil && entry.IsDir() {
						dirs = append([]string{path}, dirs...)
					}
					return nil
				})
				for _, dir := range dirs {
					if err := unix.Rmdir(dir); err != nil {
						return fmt.Sprintf("cgroup %s: %v", dir, err)
					}
				}
				return ""
			})
		})
		group, err := os.Open(dir)
		noError(t, err)
		t.Cleanup(func() { group.Close() })
		return group
	}
	t.Skip("no cgroup2 is mounted")
	return nil
}

// command is a command of that user, or of root if it is empty.
func (s *systemd) command(user string, command ...string) *exec.Cmd {
	args := []string{"-t", strconv.Itoa(s.pid), "-a"}
	env := []string{"env", "-i", "PATH=" + systemdPath}
	if user != "" {
		uid := strconv.Itoa(s.uid(user))
		args = append(args, "-S", uid, "-G", uid)
		env = append(env, "HOME=/home/"+user, "XDG_RUNTIME_DIR=/run/user/"+uid)
	}
	return exec.Command("nsenter", append(append(append(args, "--"), env...), command...)...)
}

// run runs a command to its end, and returns its output without the last newline.
func (s *systemd) run(user string, command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	args := s.command(user, command...).Args
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	return strings.TrimSuffix(string(out), "\n"), err
}

// must is run of a command that succeeds.
func (s *systemd) must(user string, command ...string) string {
	s.t.Helper()
	out, err := s.run(user, command...)
	if err != nil {
		s.t.Fatalf("%q: %v\n%s", command, err, out)
	}
	return out
}

func (s *systemd) uid(user string) int {
	first, _ := strconv.Atoi(firstUID)
	for i, u := range s.users {
		if u == user {
			return first + i
		}
	}
	panic("no user " + user)
}

// path is a path below the root of systemd, seen from here.
func (s *systemd) path(path string) string { return fmt.Sprintf("/proc/%d/root%s", s.pid, path) }

// write writes a file of that user, or of root if it is empty. It makes its directory.
func (s *systemd) write(user, path, text string) {
	s.t.Helper()
	s.mkdir(user, filepath.Dir(path))
	noError(s.t, os.WriteFile(s.path(path), []byte(text), 0o644))
}

// mkdir makes a directory of that user, and those above it, if there is none.
func (s *systemd) mkdir(user, path string) {
	s.t.Helper()
	if !exists(s.path(path)) {
		s.must(user, "mkdir", "-p", path)
	}
}

// runtimeRoot is the default runtime root of that user.
func (s *systemd) runtimeRoot(user string) string {
	return "/home/" + user + "/.local/share/running-process/runtime"
}

// spawn spawns a daemon of that user, in the default runtime root.
func (s *systemd) spawn(user, name string, sidecar []byte) daemondirtest.Dir {
	s.t.Helper()
	d := s.leave(user, name, sidecar, "")
	noError(s.t, os.Link(s.path("/opt/trampoline"), filepath.Join(d.Path(), name)))
	cmd := s.command(user, "env", trampolineEnv+"=1", "sh", "-euc", `printf %s $$ > "$1/daemon.pid"; exec "$1/$2"`,
		"sh", s.runtimeRoot(user)+"/"+name, name)
	noError(s.t, cmd.Start())
	s.t.Cleanup(func() {
		cmd.Process.Kill() // the daemon itself ends with systemd
		cmd.Wait()
	})
	daemondirtest.Eventually(s.t, "the daemon runs", func() bool {
		pid, err := os.ReadFile(d.PIDFile())
		return err == nil && len(pid) > 0
	})
	return d
}

// leave leaves the dir of a daemon of that user, without a process.
func (s *systemd) leave(user, name string, sidecar []byte, pid string) daemondirtest.Dir {
	s.t.Helper()
	s.mkdir(user, s.runtimeRoot(user))
	d := daemondirtest.Make(s.t, s.path(s.runtimeRoot(user)), name, sidecar, pid)
	noError(s.t, filepath.WalkDir(d.Path(), func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, s.uid(user), -1))
	}))
	return d
}

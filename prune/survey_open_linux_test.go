package prune

import (
	"bufio"
	"fmt"
	"maps"
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

// mapVar makes the test binary map the file that it names into memory, and hold it.
const mapVar = "GCTEST_MAP"

// TestMapHelper is the process that has a file mapped, but not open.
func TestMapHelper(t *testing.T) {
	path := os.Getenv(mapVar)
	if path == "" {
		t.Skip("started by TestKeepWhatIsOpenElsewhere")
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Mmap(int(f.Fd()), 0, 4, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		t.Fatal(err)
	}
	f.Close()
	fmt.Println("ready")
	time.Sleep(time.Hour)
}

// Who has a file open for a moment only, as another survey has, is no user.
func TestOpenForAMoment(t *testing.T) {
	root := t.TempDir()
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	needLeases(t, d)
	f, err := os.Open(d.PIDFile())
	if err != nil {
		t.Fatal(err)
	}
	m := newTestRemover(t, root, false)
	findNoUsers(t, m)
	time.AfterFunc(2*time.Millisecond, func() { f.Close() })
	if r := m.remove(entryOf(t, d)); r.kept != "" {
		t.Errorf("kept because %q: %v", r.kept, r.err)
	}
}

// A trampoline is a link to a program that all daemons share: that it runs says nothing.
func TestProgramRunsByAnotherLink(t *testing.T) {
	root := t.TempDir()
	d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
	elsewhere := filepath.Join(t.TempDir(), "sleep")
	if err := daemondirtest.CopyProgram(elsewhere, "/bin/sleep"); err != nil {
		t.Skipf("no program to be copied: %v", err)
	}
	if err := os.Link(elsewhere, filepath.Join(d.Path(), "a")); err != nil {
		t.Skipf("no hard links: %v", err)
	}
	cmd := exec.Command(elsewhere, "1000")
	if err := cmd.Start(); err != nil {
		t.Skipf("no program to be run: %v", err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if r := newTestRemover(t, root, false).remove(entryOf(t, d)); r.kept != "" {
		t.Errorf("kept because %q: %v", r.kept, r.err)
	}
}

// A file that somebody has open or mapped keeps the dir, even if the process table says
// nothing of it.
func TestKeepWhatIsOpenElsewhere(t *testing.T) {
	if portable {
		t.Skip("there are no leases there")
	}
	shell := func(script string, args ...string) *exec.Cmd {
		return exec.Command("sh", append([]string{"-c", script, "sh"}, args...)...)
	}
	for rule, start := range map[string]func(t *testing.T, file string) *exec.Cmd{
		"open": func(t *testing.T, file string) *exec.Cmd {
			return shell(`exec <"$1"; echo ready; exec sleep 1000`, file)
		},
		"open for writing": func(t *testing.T, file string) *exec.Cmd {
			return shell(`exec 3>>"$1"; echo ready; exec sleep 1000`, file)
		},
		"mapped": func(t *testing.T, file string) *exec.Cmd {
			cmd := exec.Command(os.Args[0], "-test.run=^TestMapHelper$")
			cmd.Env = append(os.Environ(), mapVar+"="+file)
			return cmd
		},
		"open at another path, in other namespaces": func(t *testing.T, file string) *exec.Cmd {
			if os.Geteuid() != 0 {
				t.Skip("takes root")
			}
			cmd := shell(`mount --make-rprivate / && mount --bind "$1" "$2" && exec <"$2/$3" && echo ready && exec sleep 1000`,
				filepath.Dir(file), t.TempDir(), filepath.Base(file))
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
			return cmd
		},
	} {
		t.Run(rule, func(t *testing.T) {
			root := t.TempDir()
			d := daemondirtest.MakeDead(t, root, "a", 2*time.Hour)
			needLeases(t, d)
			if err := os.Mkdir(filepath.Join(d.Path(), "sub"), 0o755); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(d.Path(), "sub", "log\n")
			daemondirtest.WriteFile(t, file, "text")
			daemondirtest.MakeOld(t, d.Path(), 2*time.Hour)
			cmd := start(t, file)
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Skipf("no process to be started: %v", err)
			}
			stop := func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
			defer stop()
			if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
				t.Fatalf("%q, %v", line, err)
			}
			before := state(t, root)
			for _, dryRun := range []bool{true, false} {
				m := newTestRemover(t, root, dryRun)
				findNoUsers(t, m) // who sees it is the survey
				a := &attempt{e: entryOf(t, d)}
				_ = m.checkShape(a)
				if f := m.checkContents(a); f.kept != InUse || !strings.Contains(f.details, `sub/log\n`) {
					t.Errorf("found %+v", f)
				}
				a.close()
				if r := m.remove(entryOf(t, d)); r.kept != InUse || r.err != nil {
					t.Errorf("kept because %q: %v", r.kept, r.err)
				}
			}
			if after := state(t, root); !maps.Equal(before, after) {
				t.Errorf("something changed:\n%v\n%v", before, after)
			}
			stop()
			if r := newTestRemover(t, root, false).remove(entryOf(t, d)); r.kept != "" {
				t.Errorf("kept because %q: %v", r.kept, r.err)
			}
		})
	}
}

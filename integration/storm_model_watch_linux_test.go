package integration

// What the steps of a storm of a model do to the watch, what they do beside it, and what
// they put into its roots that is no daemon's.

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// modelJunk begins the names of what is no daemon's.
const modelJunk = "junk-"

// litter makes something in a root, and removes it later.
func (m *model) litter(prefix string, make func(path string) error) {
	s := m.shelves[m.rng.IntN(len(m.shelves))]
	if s.covered || s.retired {
		return
	}
	m.done[m.kind]++
	name := fmt.Sprint(prefix, modelJunk, m.step)
	noError(m.t, make(filepath.Join(s.root, name)))
	var end func()
	end = func() {
		if s.covered {
			m.later(100, nil, end)
		} else {
			noError(m.t, clearAway(filepath.Join(s.root, name)))
		}
	}
	m.later(500, nil, end)
}

func fifoSidecar(path string) error {
	noDir := os.Mkdir(path, 0o755)
	if noDir != nil {
		return noDir
	}
	return unix.Mkfifo(filepath.Join(path, filepath.Base(path)+".daemon.json"), 0o644)
}

func dirWithFile(path string) error {
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(path, "mine"), []byte(secret), 0o644)
}

// free of anything that holds up the watch, or its log.
func (m *model) undisturbed() bool { return !m.stopped && !m.stalled && !m.limited }

// stop stops the watch, but not while it holds a lease: a spawner would wait for 45 s.
func (m *model) stop() {
	pid := m.w.cmd.Process.Pid
	for m.stopped = true; ; {
		noError(m.t, syscall.Kill(pid, syscall.SIGSTOP))
		for !strings.HasPrefix(procStatus(m.t, pid, "State"), "T") {
			time.Sleep(50 * time.Microsecond)
		}
		locks, err := os.ReadFile("/proc/locks")
		noError(m.t, err)
		leased := false
		for line := range strings.Lines(string(locks)) {
			leased = leased || strings.Contains(line, " LEASE ") && strings.Contains(line, fmt.Sprintf(" %d ", pid))
		}
		if !leased {
			return
		}
		noError(m.t, syscall.Kill(pid, syscall.SIGCONT))
	}
}

func (m *model) stopForAMoment() {
	if m.undisturbed() {
		m.done[m.kind]++
		m.stop()
		m.later(40, nil, m.resume)
	}
}

// overflow makes more events than the kernel keeps, while the watch is stopped.
func (m *model) overflow() {
	s := m.shelves[m.rng.IntN(len(m.shelves))]
	if m.undisturbed() && !s.covered {
		m.done[m.kind]++
		m.stop()
		flood(m.t, s.root)
		m.resume()
	}
}

// stall has nobody read the log, which goes through a pipe of one page, for a while.
func (m *model) stall() {
	if !m.undisturbed() {
		return
	}
	m.done[m.kind]++
	pipe, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/2", m.w.cmd.Process.Pid), os.O_WRONLY, 0)
	noError(m.t, err)
	_, _ = unix.FcntlInt(pipe.Fd(), unix.F_SETPIPE_SZ, 4096)
	pipe.Close()
	m.w.mu.Lock() // its reader takes it for each line
	m.stalled = true
	m.later(100, nil, m.resume)
}

// fewDescriptors leaves a watch that has begun hardly any: one that cannot even lock its roots at
// its start ends.
func (m *model) fewDescriptors() {
	if !m.undisturbed() || !m.begun {
		return
	}
	m.done[m.kind]++
	m.limited = true
	restore := m.descriptors()
	m.later(60, nil, func() {
		restore()
		m.limited = false
		m.resume()
		m.reconfigure() // it may have been too short of them to read its configuration
	})
}

func (m *model) misconfigure() {
	if !m.undisturbed() {
		return
	}
	m.done[m.kind]++
	m.catchUp()
	m.config.write("runtime_gc_stale_after_secs = \"" + secret + "\"")
	m.w.hangup("config.invalid")
	m.reconfigure()
}

func (m *model) restart(sig syscall.Signal) {
	if m.undisturbed() {
		m.done[m.kind]++
		m.stopWatch(sig)
		m.startWatch()
	}
}

// secondWatch must be refused, whichever root it wants.
func (m *model) secondWatch() {
	if !m.calm || m.rootBusy {
		return
	}
	m.done[m.kind]++
	root := m.roots[m.rng.IntN(len(m.roots))]
	if o := run(m.t, "watch", "--root", root, "--config", m.config.path); o.code != 1 || !strings.Contains(o.stderr, "served by") {
		m.fail(nil, "a second watch of %s: exit code %d; %s", root, o.code, o.stderr)
	}
}

// beside runs another command.
func (m *model) beside(command ...string) {
	m.done[m.kind]++
	run(m.t, append(command, m.flags()...)...).must(m.t)
}

// watchesOn returns how many inotify watches the watch has on a directory.
func (m *model) watchesOn(dir string) (n int) {
	info, err := os.Stat(dir)
	if err != nil {
		return 0
	}
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", m.w.cmd.Process.Pid))
	for _, path := range paths {
		text, _ := os.ReadFile(path)
		n += strings.Count(string(text), fmt.Sprintf(" ino:%x ", inode(info)))
	}
	return n
}

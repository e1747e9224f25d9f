//go:build !portable

package proc

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// user is a process, or thread, as far as it says how it sees the file system.
type user struct {
	pid  int32
	dir  string // in /proc
	view *view
	cwd  string
	net  string // its network namespace
}

// A lookout is one pass over the process table.
type lookout struct {
	*Users
	views  *views
	owners map[uint64]*user   // the number of a socket -> a process that has it open
	nets   map[string][]*user // network namespace -> the processes in it
}

// look notes what the processes use.
func (u *Users) look(pids []int32) error {
	t, err := treeOf(u.root)
	if err != nil {
		return err
	}
	l := lookout{Users: u, views: newViews(t), owners: make(map[uint64]*user), nets: make(map[string][]*user)}
	for _, pid := range pids {
		if pid == int32(os.Getpid()) {
			continue
		}
		if err := l.process(pid); err != nil {
			return err
		}
	}
	return l.boundSockets()
}

// process notes what a process uses.
func (l *lookout) process(pid int32) error {
	dir := processDir(pid)
	exe, err := os.Readlink(dir + "/exe")
	if errors.Is(err, fs.ErrNotExist) {
		threads, err := leaderless(dir)
		for _, thread := range threads {
			exe, exeErr := os.Readlink(thread + "/exe")
			if err := l.task(&user{pid: pid, dir: thread}, exe, exeErr); err != nil {
				return err
			}
		}
		return l.count(pid, err)
	}
	if errors.Is(err, fs.ErrPermission) {
		if kernel, err := kernelThread(dir); err == nil && kernel {
			return nil // it uses nothing
		}
	}
	return l.task(&user{pid: pid, dir: dir}, exe, err)
}

// task notes what one process, or thread, uses, whose program is exe.
func (l *lookout) task(p *user, exe string, exeErr error) error {
	if exeErr != nil {
		return l.count(p.pid, exeErr)
	}
	var err error
	if p.view, err = l.views.of(p.dir); err != nil {
		return l.count(p.pid, err)
	}
	l.use(p, exe, "its program")
	root, rootErr := os.Readlink(p.dir + "/root")
	l.use(p, root, "its root directory")
	var cwdErr error
	p.cwd, cwdErr = os.Readlink(p.dir + "/cwd")
	l.use(p, p.cwd, "its working directory")
	filesErr := l.files(p)
	mapped, mapsErr := mappings(p.dir)
	for _, path := range mapped {
		l.use(p, path, "a mapped file")
	}
	if net, err := os.Readlink(p.dir + "/ns/net"); err == nil {
		p.net = net
		l.nets[net] = append(l.nets[net], p)
	}
	return l.count(p.pid, rootErr, cwdErr, filesErr, mapsErr)
}

// files notes what p has open.
func (l *lookout) files(p *user) error {
	fds, err := readNames(p.dir + "/fd")
	for _, fd := range fds {
		file, err := os.Readlink(p.dir + "/fd/" + fd)
		if err != nil {
			continue // it has been closed
		}
		if number, ok := strings.CutPrefix(file, "socket:["); ok {
			if n, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64); err == nil {
				l.owners[n] = p
			}
			continue
		}
		l.use(p, file, "an open file")
	}
	return err
}

// use notes that p uses what it sees as path. What is no path, such as a pipe, is nowhere.
func (l *lookout) use(p *user, path, how string) {
	if !strings.HasPrefix(path, "/") {
		return
	}
	if rel, ok := p.view.find(path); ok {
		l.note(rel, Use{p.pid, how})
	}
}

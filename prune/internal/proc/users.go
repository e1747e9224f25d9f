package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/shirou/gopsutil/v3/process"
)

// Users says which directories of a root a process has its executable, its working
// directory or an open file in. It is one pass over the process table.
type Users struct {
	root   string
	byName map[string]int32 // directory -> one process that uses it

	Unreadable int // processes of other users that we may not look into
}

// FindUsers takes the pass. root is free of symlinks, as the kernel names files. A process
// that exits meanwhile uses nothing. The error is one of ours, such as a lack of
// descriptors: then nothing is known.
func FindUsers(root string) (Users, error) {
	u := Users{root: root, byName: make(map[string]int32)}
	pids, err := process.Pids()
	if err != nil {
		return u, fmt.Errorf("reading the process table: %w", err)
	}
	self := int32(os.Getpid())
	for _, pid := range pids {
		if pid == self {
			continue
		}
		if err := u.look(&process.Process{Pid: pid}); err != nil {
			return u, fmt.Errorf("reading the process table: asking what pid %d uses: %w", pid, err)
		}
	}
	return u, nil
}

// Of returns a process that uses the directory name of the root, if there is one.
func (u Users) Of(name string) (pid int32, used bool) {
	pid, used = u.byName[name]
	return pid, used
}

// look notes what p uses.
func (u *Users) look(p *process.Process) error {
	exe, exeErr := p.Exe()
	u.note(exe, p.Pid)
	cwd, cwdErr := p.Cwd()
	u.note(cwd, p.Pid)
	files, filesErr := openFiles(p)
	for _, path := range files {
		u.note(path, p.Pid)
	}
	forbidden := false
	for _, err := range []error{exeErr, cwdErr, filesErr} {
		switch {
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM):
			return err
		case errors.Is(err, fs.ErrPermission):
			forbidden = true
		}
	}
	if forbidden {
		u.Unreadable++
	}
	return nil
}

// note notes that process pid uses path.
func (u *Users) note(path string, pid int32) {
	if rel, ok := strings.CutPrefix(path, u.root+string(filepath.Separator)); ok {
		name, _, _ := strings.Cut(rel, string(filepath.Separator))
		// A working directory that was removed is shown as "<path> (deleted)": it is not the
		// directory that stands there now, if one does.
		u.byName[name] = pid
	}
}

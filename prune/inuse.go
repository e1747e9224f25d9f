package prune

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

// users says which daemon dirs a process has its executable, its working directory or
// an open file in. It is one pass over the process table, taken once per sweep that
// has something to remove. A trampoline whose pid file was lost is found so, and a
// daemon's command that lives on after its trampoline was killed and still writes a
// log there.
type users struct {
	root       string           // the root with its symlinks resolved, as the kernel names files
	byName     map[string]int32 // daemon dir -> one process that uses it
	unreadable int              // processes of other users that we may not look into
}

// findUsers takes the pass. A process that exits meanwhile uses nothing. A busy host takes
// it a while: attend, if not nil, is called after each process.
func findUsers(root string, attend func()) (users, error) {
	u := users{byName: make(map[string]int32)}
	var err error
	if u.root, err = filepath.EvalSymlinks(root); err != nil {
		return u, err
	}
	pids, err := process.Pids()
	if err != nil {
		return u, err
	}
	self := int32(os.Getpid())
	for _, pid := range pids {
		if pid == self {
			continue
		}
		if err := u.look(&process.Process{Pid: pid}); err != nil {
			return u, fmt.Errorf("asking what pid %d uses: %w", pid, err)
		}
		if attend != nil {
			attend()
		}
	}
	return u, nil
}

// look takes down what p uses. The error is one of ours, such as a lack of descriptors:
// then nothing is known, and nothing may be removed.
func (u *users) look(p *process.Process) error {
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
		u.unreadable++
	}
	return nil
}

// note takes down that process pid uses path.
func (u *users) note(path string, pid int32) {
	if rel, ok := strings.CutPrefix(path, u.root+string(filepath.Separator)); ok {
		name, _, _ := strings.Cut(rel, string(filepath.Separator))
		// A working directory that was removed is shown as "<path> (deleted)": it is not the
		// directory that stands there now, if one does.
		u.byName[name] = pid
	}
}

package proc

import (
	"os"
	"path/filepath"

	"github.com/shirou/gopsutil/v3/process"

	"runtimegc/registry/daemondir"
)

// look notes what the processes use, by the paths that the system gives: programs and
// working directories. Of open files gopsutil has an answer that can hang; the system itself
// refuses to rename a directory with open files.
func (u *Users) look(pids []int32) error {
	root, _ := daemondir.IdentifyPath(u.root) // unknown: by its path alone
	seen := make(places)
	for _, pid := range pids {
		if pid == int32(os.Getpid()) {
			continue
		}
		p := &process.Process{Pid: pid}
		exe, exeErr := p.Exe()
		cwd, cwdErr := p.Cwd()
		for path, how := range map[string]string{exe: "its program", cwd: "its working directory"} {
			if path == "" {
				continue
			}
			if at := seen.below(path, u.root, root); at != "" {
				u.note(nameOnDisk(at), Use{pid, how})
			}
		}
		if err := u.count(pid, exeErr, cwdErr); err != nil {
			return err
		}
	}
	return nil
}

// nameOnDisk returns the name of the directory at path as the directory above it spells it.
func nameOnDisk(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return filepath.Base(path)
}

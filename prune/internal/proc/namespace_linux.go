//go:build !portable

package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// foreign reads the NSpid of this process: its pids from the namespace of /proc inwards
// (proc_pid_status(5), since Linux 4.1). If /proc is ours there is one, the one we know.
func foreign(proc string, pid int) error {
	status, err := os.ReadFile(proc + "/self/status")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		var st unix.Statfs_t
		if unix.Statfs(proc, &st) != nil || st.Type != unix.PROC_SUPER_MAGIC {
			return fmt.Errorf("no process can be identified: there is no %s", proc)
		}
		return errForeign // it does not have us
	case err != nil:
		return fmt.Errorf("no process can be identified: %w", err)
	}
	for line := range bytes.Lines(status) {
		if pids, ok := bytes.CutPrefix(line, []byte("NSpid:")); ok {
			if string(bytes.TrimSpace(pids)) != strconv.Itoa(pid) {
				return errForeign
			}
			return nil
		}
	}
	// The kernel is older, or has no pid namespaces.
	self, err := os.Readlink(proc + "/self")
	switch {
	case err != nil:
		return fmt.Errorf("no process can be identified: %w", err)
	case self != strconv.Itoa(pid):
		return errForeign
	}
	return nil
}

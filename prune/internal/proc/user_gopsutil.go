//go:build unix && (portable || (!linux && !darwin))

package proc

import (
	"errors"

	"github.com/shirou/gopsutil/v3/process"
)

// userOf returns the effective user of a process.
func userOf(pid int32) (uint32, error) {
	uids, err := (&process.Process{Pid: pid}).Uids() // real, effective, saved
	switch {
	case err != nil:
		return 0, err
	case len(uids) < 2:
		return 0, errors.New("its effective user is not known")
	}
	return uint32(uids[1]), nil
}

//go:build unix && (!linux || portable)

package proc

import "golang.org/x/sys/unix"

// foreign reports whether the effective user of a process is known, and is another than the
// owner of the directory.
func (q Query) foreign(pid int32) bool {
	var dir unix.Stat_t
	if unix.Lstat(q.Dir, &dir) != nil {
		return false
	}
	uid, err := userOf(pid)
	return err == nil && uid != dir.Uid
}

//go:build !portable

package fsys

import (
	"path/filepath"
	"time"

	"runtimegc/registry/daemondir"

	"golang.org/x/sys/unix"
)

// A Position is where a root stood at a moment, so that one can tell later whether it has been
// moved since, be it away and back: meanwhile /proc showed other paths of what is in it.
//
// A rename changes the ctime of what is renamed, and the mtime of the directories that it is
// in before and after (rename(2) in POSIX; ext4, xfs, btrfs and tmpfs do both before the new
// path can be seen). Each of the two alone is changed by much else: the first by all that is
// made or removed in the root, the second by all that is beside it.
type Position struct {
	began  time.Time // before anything was looked at
	at     time.Time // the same, by the file systems' clock
	way    []place   // from "/" to the root
	mounts int       // how often the mount table had changed
}

// A place is a directory on the way to the root.
type place struct {
	id             daemondir.FileID
	ctime, written time.Time
}

// Position returns where the root stands. The error is [ErrReplaced] if its path leads to
// something else by now.
func (r *Root) Position() (Position, error) {
	changes, err := r.mounts.changes()
	if err != nil {
		return Position{}, err
	}
	p := Position{began: time.Now(), at: fileClock(), mounts: changes}
	if err := p.add(r.real); err != nil {
		return p, err
	}
	if p.way[len(p.way)-1].id != r.id {
		return p, ErrReplaced
	}
	return p, nil
}

// add adds the places on the way to path, and path itself.
func (p *Position) add(path string) error {
	if up := filepath.Dir(path); up != path {
		if err := p.add(up); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	switch {
	case Gone(err):
		return ErrReplaced
	case err != nil:
		return failed("stat", path, err)
	}
	p.way = append(p.way, place{daemondir.FileID{Dev: uint64(st.Dev), Ino: st.Ino},
		time.Unix(st.Ctim.Unix()), time.Unix(st.Mtim.Unix())})
	return nil
}

// Stayed returns [ErrReplaced] if the root was moved since it had that position, or a
// directory above it, or if anything was mounted or unmounted. It may also return that if it
// cannot tell: if there were changes both in a directory and beside it.
func (r *Root) Stayed(since Position) error {
	now, err := r.Position()
	if err != nil {
		return err
	}
	if now.mounts != since.mounts {
		return ErrReplaced
	}
	for i, place := range now.way {
		before := since.way[i]
		if place.id != before.id {
			return ErrReplaced
		}
		if i > 0 && since.touched(before.ctime, place.ctime) && since.touched(since.way[i-1].written, now.way[i-1].written) {
			return ErrReplaced
		}
	}
	return nil
}

// touched reports whether a time stamp, which was before and is now, was set since p was
// taken. It may have been set twice within one tick of the clock, or the clock set back.
func (p Position) touched(before, now time.Time) bool {
	return !now.Equal(before) || !now.Before(p.at)
}

// StoodAt reports whether the directory id has the name in the root, and has had it since p
// was taken and a [Tick] before that. It reports false if it cannot tell: if anything was made
// or removed directly in it, or if the clock was set back.
func (r *Root) StoodAt(name string, id daemondir.FileID, p Position) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(int(r.dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, failed("stat", name, err)
	}
	same := daemondir.FileID{Dev: uint64(st.Dev), Ino: st.Ino} == id
	return same && time.Unix(st.Ctim.Unix()).Before(p.at.Add(-Tick)) && !setBack(p.began), nil
}

// setBack reports whether the clock was set back since then, by so much that time stamps
// made after that could be taken for older ones.
func setBack(since time.Time) bool {
	now := time.Now()
	return now.Sub(since)-now.Round(0).Sub(since.Round(0)) > Tick/2 // by the monotonic clock, and by the wall clock
}

// fileClock returns the time by the clock of time stamps in file systems, which goes by
// ticks of the kernel.
func fileClock() time.Time {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now) != nil {
		return time.Time{} // then every time stamp is later
	}
	return time.Unix(now.Unix())
}

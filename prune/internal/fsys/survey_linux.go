//go:build !portable

package fsys

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"runtimegc/registry/daemondir"

	"golang.org/x/sys/unix"
)

// errNoLeases says that the file system has no leases.
var errNoLeases = errors.New("no leases on this file system")

// euid is who we are. Asking takes a system call.
var euid = uint32(os.Geteuid())

// facts describes name in d; an empty name is d.
func (d *dir) facts(name string) (facts, error) {
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	var st unix.Statx_t
	err := unix.Statx(d.fd, name, flags, unix.STATX_TYPE|unix.STATX_MODE|unix.STATX_NLINK|unix.STATX_UID|unix.STATX_INO|unix.STATX_MTIME, &st)
	if err != nil {
		return facts{}, failed("stat", name, err)
	}
	if name == "" {
		d.mode, d.uid = uint32(st.Mode), st.Uid
	}
	return facts{
		mode:    typeOf(st.Mode),
		links:   uint64(st.Nlink),
		foreign: st.Uid != euid,
		fixed:   st.Attributes&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND) != 0,
		mounted: name != "" && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0,
		ino:     st.Ino,
		written: time.Unix(st.Mtime.Sec, int64(st.Mtime.Nsec)),
	}, nil
}

// typeOf returns the type of a file, as far as a survey distinguishes types.
func typeOf(mode uint16) fs.FileMode {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return fs.ModeDir
	case unix.S_IFREG:
		return 0
	case unix.S_IFSOCK:
		return fs.ModeSocket
	}
	return fs.ModeIrregular
}

// writable returns an error if the content of d may not be removed. A directory of our own
// can be made writable.
func (d *dir) writable() error {
	if d.uid == euid {
		return nil
	}
	if unix.Faccessat(d.fd, ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS) != nil {
		return errUnwritable
	}
	return nil
}

// keepsForeign reports whether d is sticky and another user's, so that only our own files can
// be removed from it (unlink(2), EPERM).
func (d *dir) keepsForeign() bool {
	return d.mode&unix.S_ISVTX != 0 && d.uid != euid && !hasCapability(unix.CAP_FOWNER)
}

func hasCapability(capability uint) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[capability/32].Effective&(1<<(capability%32)) != 0
}

// mountFlags reports whether nothing can be changed by way of the mount that dir is on, and
// whether a lease says there that a file is open elsewhere. On a network file system the
// server decides, and EAGAIN may only mean that it granted no delegation.
func mountFlags(dir *os.File) (readOnly, leases bool) {
	var st unix.Statfs_t
	if unix.Fstatfs(int(dir.Fd()), &st) != nil {
		return false, false
	}
	switch uint32(st.Type) {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC:
	default:
		leases = true
	}
	return st.Flags&unix.ST_RDONLY != 0, leases
}

// sparesSpawners says that openElsewhere would refuse a spawner who comes meanwhile: he waits.
const sparesSpawners = false

// openElsewhere reports whether a process has the regular file name open, or mapped into
// memory. The kernel grants a write lease (fcntl(2), "Leases") only on a file that is not
// open elsewhere, in any namespace; it ends when we close the file. In the microseconds
// between, an open(2) of it waits, or fails with EAGAIN if it is non-blocking. It is not for
// files with several links, such as a trampoline: they may be open by another link. Where it
// cannot be determined, such as for another user's file, it returns false.
//
// Who has the file open may be another survey (of a list beside a watch), or who reads the
// pid file: they are done within a moment, so it looks again.
func (d *dir) openElsewhere(name string) (open bool, err error) {
	for wait := time.Millisecond; ; wait *= 4 {
		if open, err = d.openNow(name); !open || err != nil || wait > maxProbeWait {
			return open, err
		}
		time.Sleep(wait)
	}
}

// maxProbeWait is the longest time to wait before a file that is open elsewhere is looked at
// again: the waits are 1, 4 and 16 ms.
const maxProbeWait = 16 * time.Millisecond

// probing keeps two surveys of this process from taking each other for a user.
var probing sync.Mutex

func (d *dir) openNow(name string) (bool, error) {
	probing.Lock()
	defer probing.Unlock()
	fd, err := daemondir.IgnoringEINTR(func() (int, error) {
		return unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	})
	switch err {
	case nil:
	case unix.EAGAIN: // somebody has a lease on it
		return true, nil
	case unix.EMFILE, unix.ENFILE, unix.ENOMEM:
		return false, failed("open", name, err)
	default:
		return false, nil
	}
	defer unix.Close(fd)
	switch _, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_WRLCK); err {
	case unix.EAGAIN:
		return true, nil
	case unix.EINVAL, unix.ENOLCK, unix.EOPNOTSUPP:
		return false, errNoLeases
	}
	return false, nil // EACCES: it is another user's
}

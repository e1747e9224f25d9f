//go:build unix && (!linux || portable)

package proc

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"runtimegc/registry/daemondir"
)

const socketUse = "a bound socket"

// look notes what the processes use, by one run of lsof for all. Only the names that it gives
// are known: not under which other paths a process sees a directory.
//
// How the system spells the path of the root, whatever its case, its Unicode and what it calls
// the parts of its disk, is learned from what lsof calls the root that is open here. If it does
// not name that, it would not name other files either, and nothing is known.
func (u *Users) look(pids []int32) error {
	root, err := os.Open(u.root)
	if err != nil {
		return err
	}
	defer root.Close()
	u.spellings = escaped
	files, lsof, err := lsofFiles()
	if err != nil {
		return err
	}
	self := int32(os.Getpid())
	prefix, err := spelling(files, self, root)
	if err != nil {
		return err
	}
	info, err := root.Stat()
	if err != nil {
		return err
	}
	read := u.noteFiles(files, prefix+"/", info, self, lsof)
	for _, pid := range pids {
		// 0 is the kernel.
		if pid == 0 || pid == self || pid == lsof || read[pid] {
			continue
		}
		if exists, zombie, err := exists(pid); err == nil && exists && !zombie {
			u.Unreadable++
		}
	}
	return nil
}

// spelling returns what lsof calls the file that is open here as f.
func spelling(files []openFile, self int32, f *os.File) (string, error) {
	fd := strconv.Itoa(int(f.Fd()))
	for _, file := range files {
		if file.pid != self || file.fd != fd {
			continue
		}
		// Else it is where the disk is mounted, and the device.
		for _, base := range escaped(filepath.Base(f.Name())) {
			if strings.EqualFold(path.Base(file.name), base) && path.IsAbs(file.name) {
				return file.name, nil
			}
		}
		return "", errors.New("lsof does not name the runtime root by its path")
	}
	return "", errors.New("lsof does not list what this process has open")
}

// lsofUses are the uses that are not of a file descriptor. What is mapped is "txt" as well on
// macOS.
var lsofUses = map[string]string{
	"cwd": "its working directory", "rtd": "its root directory", "txt": "its program",
	"mem": "a mapped file", "DEL": "a mapped file",
}

// noteFiles notes the uses of what is below the root, which root describes, and begins with
// prefix for lsof. It returns the processes whose working directory is known: of others lsof
// may know nothing. Our own process uses nothing but the sockets that it has bound, and lsof
// itself nothing at all.
func (u *Users) noteFiles(files []openFile, prefix string, root fs.FileInfo, self, lsof int32) (read map[int32]bool) {
	read = make(map[int32]bool)
	cwd := "" // of the process
	for i, f := range files {
		if i == 0 || f.pid != files[i-1].pid {
			cwd = ""
		}
		if f.fd == "cwd" && f.kind != "unknown" {
			read[f.pid] = true
			cwd = f.name
		}
		switch {
		case f.pid == lsof:
		case f.kind == "unix":
			u.noteSocket(f, cwd, prefix, root)
		case f.pid != self:
			how, ok := lsofUses[f.fd]
			if !ok {
				how = "an open file"
			}
			if rel, ok := strings.CutPrefix(f.name, prefix); ok {
				u.note(rel, Use{f.pid, how})
			}
		}
	}
	return read
}

// noteSocket notes a bound UNIX socket, whose path may lead through symlinks, and the file that
// it is bound to if that is on the file system of the root. lsof gives the path that was bound,
// which may be relative, and on Linux the type after it; of one that is not bound it gives the
// type only, or the address of another.
func (u *Users) noteSocket(f openFile, cwd, prefix string, root fs.FileInfo) {
	bound := f.name
	if i := strings.LastIndex(bound, " type="); i >= 0 {
		bound = bound[:i]
	}
	if bound == "" || strings.HasPrefix(bound, "type=") || strings.HasPrefix(bound, "->") || strings.HasPrefix(bound, "@") {
		return
	}
	if !path.IsAbs(bound) {
		bound = cwd + "/" + bound
	}
	use := Use{f.pid, socketUse}
	if rel, ok := strings.CutPrefix(bound, prefix); ok {
		u.note(rel, use)
		return
	}
	if strings.ContainsAny(bound, `\^`) {
		return // escaped, in one way or another
	}
	info, err := daemondir.Stat(bound)
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return
	}
	file, ok := info.Sys().(*syscall.Stat_t)
	dir, also := root.Sys().(*syscall.Stat_t)
	if ok && also && file.Dev == dir.Dev {
		u.sockets[uint32(file.Ino)] = use
	}
}

package daemondir

// Reading one daemon dir: never through a symlink, never blocked, never more than a
// bounded number of bytes. The system calls are in dir_linux.go and dir_other.go.

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// ErrBusy says that the sidecar is being written, by another process or, under a lease,
// by our own refresh: look again in a moment.
var ErrBusy = errors.New("sidecar is being written")

// readTries is how often a file is read that changes under the reader.
const readTries = 4

// Read reads the daemon dir root/name. The error is fs.ErrNotExist when there is no
// such directory (a symlink or a file of that name is no daemon dir), [ErrBusy], or
// what kept us from knowing. What is wrong with the dir's content is no error but
// the entry's Problem.
func Read(root, name string) (Entry, error) {
	d, err := Open(root, name)
	if errors.Is(err, fs.ErrPermission) {
		// The dir is there and may be a daemon's; unreadable is a state, not an absence.
		return Entry{Name: name, Problem: ProblemPermission}, nil
	}
	if err != nil {
		return Entry{}, err
	}
	defer d.Close()
	return d.Read()
}

// Read reads the sidecar and the pid file. The only errors are [ErrBusy], fs.ErrNotExist,
// and those of a system that is out of descriptors or memory.
//
// A sidecar that was rewritten meanwhile is read again: a rewrite of the same length can
// come between two pages of one read, and a text of two halves may parse. On ext4 that
// was 1 in 7,000 good reads beside a rewriting loop, on tmpfs 1 in 40.
func (d *Dir) Read() (Entry, error) {
	f, err := d.OpenSidecar(ReadOnly)
	if err != nil {
		return d.entryWithout(err)
	}
	defer f.Close()
	for range readTries {
		e, err := d.ReadFrom(f)
		if err != nil {
			return Entry{}, err
		}
		if f.look() == nil && f.stamp() == e.Sidecar {
			return e, nil
		}
	}
	return Entry{}, ErrBusy
}

// ReadFrom is [Dir.Read] with the sidecar already open: whoever holds a lease on it
// must not open it again.
func (d *Dir) ReadFrom(sidecar *File) (Entry, error) {
	_, parsed, problem := sidecar.Text()
	e := Entry{Name: d.name, Dir: d.id, Sidecar: sidecar.stamp(), Problem: problem}
	if problem == ProblemNone {
		e.SpawnedAt, e.LastSeen = parsed.SpawnedAt, parsed.Seen()
	}
	return e, d.readPID(&e)
}

// Text reads a sidecar and parses it.
func (f *File) Text() ([]byte, Sidecar, Problem) {
	text, problem := f.content(MaxSidecarSize)
	if problem != ProblemNone {
		return nil, Sidecar{}, problem
	}
	parsed, problem := ParseSidecar(text)
	return text, parsed, problem
}

// content reads the file from its start, unless it is larger than limit. A file that was
// rewritten since it was opened is looked at again: the first bytes of it must not pass
// for all of it. A pid file that was opened empty, and written the moment after, would
// else be read as its first digit: seen, within 3,000 reads beside a spawning loop.
func (f *File) content(limit int64) ([]byte, Problem) {
	for range readTries {
		size := f.size()
		if size > limit {
			return nil, ProblemTooLarge
		}
		// One byte more than the size, so that one read tells whether the file has grown.
		buf := make([]byte, size+1)
		n, err := f.readStart(buf)
		if err != nil {
			return nil, ProblemIO
		}
		if int64(n) == size {
			return buf[:n], ProblemNone
		}
		if f.look() != nil {
			return nil, ProblemIO
		}
	}
	// It is being written all the time: as good as between open and write.
	return nil, ProblemNone
}

// Whole reads the file into buf, which it returns grown if need be. It reports whether
// the file is of that size. One system call.
func (f *File) Whole(buf []byte, size int64) ([]byte, bool) {
	if size < 0 || size > MaxSidecarSize {
		return buf, false
	}
	// One byte more than the size, to see whether the file has grown.
	buf = slices.Grow(buf[:0], int(size)+1)[:size+1]
	n, err := f.readStart(buf)
	if err != nil || int64(n) != size {
		return buf[:0], false
	}
	return buf[:n], true
}

// Stamp returns the file's stamp as it is now.
func (f *File) Stamp() (Stamp, error) {
	err := f.look()
	return f.stamp(), err
}

// SidecarStamp returns the stamp of the sidecar of the daemon dir root/name as it is now,
// or the zero Stamp when there is no regular file of that name. It opens nothing.
func SidecarStamp(root, name string) Stamp {
	return lstamp(filepath.Join(root, name, SidecarName(name)))
}

// PIDStamp is [SidecarStamp] for the pid file.
func PIDStamp(root, name string) Stamp { return lstamp(filepath.Join(root, name, PIDFileName)) }

func lstamp(path string) Stamp {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return Stamp{}
	}
	return Stamp{Ino: Identify(info).Ino, Size: info.Size(), MTime: info.ModTime().UnixNano()}
}

// entryWithout is the entry of a dir whose sidecar could not be opened because of err.
func (d *Dir) entryWithout(err error) (Entry, error) {
	e := Entry{Name: d.name, Dir: d.id}
	var fatal error
	if e.Problem, fatal = problemOf(err); fatal != nil {
		return Entry{}, fatal
	}
	return e, d.readPID(&e)
}

// readPID reads the pid file into e. One that is not there, or is no regular file, is no
// pid, as in the original. One that is there and cannot be read may name a live daemon:
// then the entry has a problem.
func (d *Dir) readPID(e *Entry) error {
	f, err := d.open(PIDFileName, ReadOnly)
	if err != nil {
		problem, fatal := problemOf(err)
		if problem != ProblemNoSidecar && problem != ProblemNotRegular {
			e.spoil(problem)
		}
		return fatal
	}
	defer f.Close()
	text, problem := f.content(maxPIDFileSize)
	e.PIDFile = f.stamp()
	switch problem {
	case ProblemNone:
		e.PID = ParsePID(text)
	case ProblemIO:
		e.spoil(problem)
	}
	return nil
}

// spoil gives an entry without a problem that problem.
func (e *Entry) spoil(problem Problem) {
	if e.Problem == ProblemNone && problem != ProblemNone {
		e.Problem = problem
		e.SpawnedAt, e.LastSeen = Timestamp{}, Timestamp{}
	}
}

// problemOf says what an error of opening a file of a daemon dir means for the dir, or
// returns the error if it says nothing of it but of the moment.
func problemOf(err error) (Problem, error) {
	switch {
	case errors.Is(err, ErrBusy), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM):
		return ProblemNone, err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENAMETOOLONG):
		// A dir's name may leave no room for ".daemon.json": the spawner failed there, too.
		return ProblemNoSidecar, nil
	case errors.Is(err, fs.ErrPermission):
		return ProblemPermission, nil
	case errors.Is(err, errNotRegular):
		return ProblemNotRegular, nil
	default:
		return ProblemIO, nil
	}
}

// OpenSidecar opens the dir's sidecar. The error is [ErrBusy], fs.ErrNotExist,
// fs.ErrPermission, or says what is wrong with the file.
func (d *Dir) OpenSidecar(mode Mode) (*File, error) { return d.open(SidecarName(d.name), mode) }

// ID identifies the directory that was opened.
func (d *Dir) ID() FileID { return d.id }

// Mode says what a file of a daemon dir is opened for.
type Mode uint8

// The modes.
const (
	ReadOnly Mode = iota
	ReadWrite
)

// errNotRegular is what opening a FIFO, a device, a socket, a directory or a symlink
// in place of a file returns.
var errNotRegular = errors.New("not a regular file")

package daemondir

// Reading one daemon dir. It never follows a symlink, never blocks, and reads a bounded
// number of bytes. The system calls are in dir_linux.go, dir_windows.go and dir_other.go.

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"syscall"
)

// ErrBusy says that the sidecar is being written, by another process or, under a lease,
// by our own refresh; or on Windows, that another process does not share what it has open, or
// has locked a part of it. Try again in a moment.
var ErrBusy = errors.New("sidecar is being written")

// readTries is how often a file is read that changes while it is being read.
const readTries = 4

// Read reads the daemon dir root/name. If its content is wrong, that is not an error, but
// the entry's Problem. The error is fs.ErrNotExist if there is no such directory (a symlink
// or a file of that name is not a daemon dir), [ErrBusy], or says why it cannot be read. A
// file system that is mounted on the dir has a second to answer.
func Read(root, name string) (Entry, error) {
	d, err := Open(root, name)
	if err == nil && d.mounted {
		d.Close()
		return readMounted(root, name, d.id)
	}
	return read(name, d, err)
}

// readMounted reads a daemon dir on which a file system is mounted.
func readMounted(root, name string, id FileID) (Entry, error) {
	type result struct {
		e   Entry
		err error
	}
	r, ok := Within(answerTime, filepath.Join(root, name), func() result {
		d, err := Open(root, name)
		e, err := read(name, d, err)
		return result{e, err}
	})
	if !ok {
		return Entry{Name: name, Dir: id, Problem: ProblemNoAnswer}, nil
	}
	return r.e, r.err
}

// read reads a dir that was opened as d, or not because of err, and closes it.
func read(name string, d *Dir, err error) (Entry, error) {
	if errors.Is(err, fs.ErrPermission) {
		// The dir exists, and may be a daemon's.
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
// If the sidecar was rewritten meanwhile, it is read again: a rewrite of the same length can
// fall between two pages of one read, and the mixture of both texts may parse. Beside a loop
// of rewrites this was 1 in 7,000 successful reads on ext4, and 1 in 40 on tmpfs.
func (d *Dir) Read() (Entry, error) {
	f, err := d.OpenSidecar(ReadOnly)
	if err != nil {
		return d.readWithout(err)
	}
	defer f.Close()
	for range readTries {
		e, err := d.ReadFrom(f)
		if err != nil {
			return Entry{}, err
		}
		if f.restat() == nil && f.stamp() == e.Sidecar {
			return e, nil
		}
	}
	return Entry{}, ErrBusy
}

// ReadFrom is [Dir.Read] with the sidecar already open, for the holder of a lease on it, who
// must not open it again.
func (d *Dir) ReadFrom(sidecar *File) (Entry, error) {
	_, parsed, problem := sidecar.Text()
	e := Entry{Name: d.name, Dir: d.id, Sidecar: sidecar.stamp(), Problem: problem}
	switch problem {
	case problemBusy:
		return Entry{}, ErrBusy
	case ProblemNone:
		e.SpawnedAt, e.LastSeen = parsed.SpawnedAt, parsed.Seen()
	}
	return d.readRest(e)
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

// content reads the whole file, unless it is larger than limit. If its size has changed
// since it was opened, it is read again, so that the first bytes are not taken for all of
// it: of a pid file that was opened empty and written right after, only the first digit
// would be read (this happened within 3,000 reads beside a loop of spawns).
func (f *File) content(limit int64) ([]byte, Problem) {
	for range readTries {
		size := f.size()
		if size > limit {
			return nil, ProblemTooLarge
		}
		// One more byte than the size, so that one read shows whether the file has grown.
		buf := make([]byte, size+1)
		n, err := f.readStart(buf)
		if errors.Is(err, syscall.ESTALE) {
			return nil, ProblemNoSidecar // on NFS, another host has removed it
		}
		if errors.Is(err, ErrBusy) {
			return nil, problemBusy
		}
		if err != nil {
			return nil, ProblemIO
		}
		if int64(n) == size {
			return buf[:n], ProblemNone
		}
		if f.restat() != nil {
			return nil, ProblemIO
		}
	}
	return nil, ProblemNone // it is being written all the time; treat it as still empty
}

// Whole reads the file into buf, which it grows if necessary and returns, with one system
// call. It reports whether the file has that size.
func (f *File) Whole(buf []byte, size int64) ([]byte, bool) {
	if size < 0 || size > MaxSidecarSize {
		return buf, false
	}
	// One more byte than the size, to see whether the file has grown.
	buf = slices.Grow(buf[:0], int(size)+1)[:size+1]
	n, err := f.readStart(buf)
	if err != nil || int64(n) != size {
		return buf[:0], false
	}
	return buf[:n], true
}

// Stamp returns the file's stamp as it is now.
func (f *File) Stamp() (Stamp, error) {
	err := f.restat()
	return f.stamp(), err
}

// SidecarStamp returns the stamp of the sidecar in the daemon dir root/name as it is now,
// or the zero Stamp if there is no regular file of that name. It opens nothing.
func SidecarStamp(root, name string) Stamp {
	return lstamp(filepath.Join(root, name, SidecarName(name)))
}

func stampOf(info fs.FileInfo, id FileID) Stamp {
	return Stamp{Ino: id.Ino, Size: info.Size(), MTime: info.ModTime().UnixNano()}
}

// readWithout reads a dir whose sidecar could not be opened because of err.
func (d *Dir) readWithout(err error) (Entry, error) {
	e := Entry{Name: d.name, Dir: d.id}
	if e.Problem, err = problemOf(err); err != nil {
		return Entry{}, err
	}
	return d.readRest(e)
}

// readRest reads the pid file and looks for the mark.
func (d *Dir) readRest(e Entry) (Entry, error) {
	e.Protected = d.Marked()
	err := d.readPID(&e)
	return e, err
}

// readPID reads the pid file into e. If it is missing or not a regular file, there is no
// pid, as in the original collector. If it exists but cannot be read, it may name a live
// daemon, so the entry gets a problem.
func (d *Dir) readPID(e *Entry) error {
	f, err := d.open(PIDFileName, ReadOnly)
	if err != nil {
		problem, fatal := problemOf(err)
		if problem != ProblemNoSidecar && problem != ProblemNotRegular {
			e.setProblem(problem)
		}
		return fatal
	}
	defer f.Close()
	text, problem := f.content(maxPIDFileSize)
	e.PIDFile = f.stamp()
	switch problem {
	case ProblemNone:
		e.PID = ParsePID(text)
	case problemBusy:
		return ErrBusy
	case ProblemIO:
		e.setProblem(problem)
	}
	return nil
}

// setProblem sets the problem of an entry that has none yet.
func (e *Entry) setProblem(problem Problem) {
	if e.Problem == ProblemNone && problem != ProblemNone {
		e.Problem = problem
		e.SpawnedAt, e.LastSeen = Timestamp{}, Timestamp{}
	}
}

// problemOf returns what an error of opening a file in a daemon dir means for the entry. It
// returns the error itself if that is temporary and says nothing about the dir.
func problemOf(err error) (Problem, error) {
	switch {
	case errors.Is(err, ErrBusy), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM):
		return ProblemNone, err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENAMETOOLONG):
		// A dir name may be too long to add ".daemon.json"; then the spawner failed as well.
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

// A Kind is what [Look] has found.
type Kind uint8

const (
	NoDirectory Kind = iota // there is nothing, a symlink, or another file
	Directory
	Mounted // a directory on which a file system is mounted
	Unknown // it could not be looked at
)

// ID identifies the directory that was opened.
func (d *Dir) ID() FileID { return d.id }

// Mode says what a file in a daemon dir is opened for.
type Mode uint8

const (
	ReadOnly Mode = iota
	ReadWrite
)

// errNotRegular says that a FIFO, device, socket, directory or symlink was to be opened.
var errNotRegular = errors.New("not a regular file")

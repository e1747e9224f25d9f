package daemondir

import "strings"

// QuarantinePrefix begins the name that a daemon dir has while it is being removed:
// ".pruned-<name>", directly in the root. The prefix is reserved: a daemon whose own name
// begins with it is never collected.
const QuarantinePrefix = ".pruned-"

// SidecarName returns the file name of the sidecar in the daemon dir dirName. In a
// quarantined dir it is still that of the original name.
func SidecarName(dirName string) string {
	return strings.TrimPrefix(dirName, QuarantinePrefix) + ".daemon.json"
}

// Concerns reports whether [Read] reads the file of that name in the daemon dir dirName.
func Concerns(dirName, file string) bool {
	return file == PIDFileName || file == protectMark || file == SidecarName(dirName)
}

// Quarantined reports whether dirName is the name of a quarantined dir.
func Quarantined(dirName string) bool { return strings.HasPrefix(dirName, QuarantinePrefix) }

// A FileID identifies a directory, so that another one at the same path can be told from it.
// The zero FileID is unknown.
type FileID struct{ Dev, Ino uint64 }

// A Stamp shows whether a file has changed, without reading it. It can miss a change: before
// Linux 6.13 mtime has the resolution of a clock tick (1-4 ms), so a rewrite of the same
// length within one tick has the same stamp. The zero Stamp means that there is no file.
type Stamp struct {
	Ino   uint64
	Size  int64
	MTime int64 // nanoseconds since the Unix epoch
}

// A Problem is why a daemon dir has no usable sidecar.
type Problem uint8

// The problems, in the order in which [Dir.Read] checks for them.
const (
	ProblemNone       Problem = iota
	ProblemPermission         // no permission to read the dir, the sidecar or the pid file
	ProblemNoSidecar          // no file of the sidecar's name
	ProblemNotRegular         // a FIFO, device, socket, directory or symlink of that name
	ProblemTooLarge           // larger than MaxSidecarSize
	ProblemEmpty              // the spawner may be between open and write
	ProblemNotJSON            // see ParseSidecar; the spawner may be in the middle of writing
	ProblemNotObject          // JSON, but not an object
	ProblemNoAnswer           // the file system that is mounted there does not answer
	ProblemIO                 // reading failed

	problemBusy // a part of the file is locked; [Dir.Read] returns ErrBusy
)

var problemCodes = [...]string{
	ProblemNone:       "",
	ProblemPermission: "permission",
	ProblemNoSidecar:  "not_a_daemon_dir",
	ProblemNotRegular: "sidecar_not_regular",
	ProblemTooLarge:   "sidecar_too_large",
	ProblemEmpty:      "sidecar_empty",
	ProblemNotJSON:    "sidecar_not_json",
	ProblemNotObject:  "sidecar_not_object",
	ProblemNoAnswer:   "no_answer",
	ProblemIO:         "io_error",
}

// String returns the reason code of p.
func (p Problem) String() string { return problemCodes[p] }

// An Entry is what was last read of one daemon dir. Entries can be compared with ==.
type Entry struct {
	Name string // the directory's name, any bytes but '/' and NUL
	Dir  FileID

	Problem   Problem   // if there is one, SpawnedAt and LastSeen are unknown
	Protected bool      // there is a mark; see Protect
	Sidecar   Stamp     // zero: no sidecar
	SpawnedAt Timestamp // when the spawner wrote the sidecar
	LastSeen  Timestamp // when the daemon was last known to be alive, or SpawnedAt

	PIDFile Stamp // zero: no pid file
	PID     PID
}

// Renamed returns e under another name: a dir has one while it is being removed.
func (e Entry) Renamed(name string) Entry {
	e.Name = name
	return e
}

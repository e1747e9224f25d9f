package daemondir

import "strings"

// QuarantinePrefix begins the name a daemon dir is given while it is being removed:
// ".pruned-<name>", directly in the root. The prefix is reserved: a daemon whose own
// name begins with it is never collected.
const QuarantinePrefix = ".pruned-"

// SidecarName returns the file name of the sidecar in the daemon dir dirName. A
// quarantined dir keeps the sidecar of the name it had.
func SidecarName(dirName string) string {
	return strings.TrimPrefix(dirName, QuarantinePrefix) + ".daemon.json"
}

// Concerns says whether the file of that name in the daemon dir dirName is one that [Read]
// reads.
func Concerns(dirName, file string) bool {
	return file == PIDFileName || file == SidecarName(dirName)
}

// Quarantined says whether dirName is a dir that a removal was moving out of sight.
func Quarantined(dirName string) bool { return strings.HasPrefix(dirName, QuarantinePrefix) }

// A FileID tells one directory from another that stands, or stood, at the same path.
// The zero FileID is unknown (Windows).
type FileID struct{ Dev, Ino uint64 }

// A Stamp tells two states of a file apart without reading it. It can miss a change:
// before Linux 6.13 mtime is a clock tick (1-4 ms) coarse, so a rewrite of the same
// length within one tick has the same stamp. The zero Stamp is no file.
type Stamp struct {
	Ino   uint64
	Size  int64
	MTime int64 // nanoseconds since the Unix epoch
}

// A Problem is why a daemon dir has no usable sidecar.
type Problem uint8

// The problems, in the order in which [Dir.Read] meets them.
const (
	ProblemNone       Problem = iota
	ProblemPermission         // the dir, the sidecar or the pid file may not be read
	ProblemNoSidecar          // no file of the sidecar's name
	ProblemNotRegular         // a FIFO, device, socket, directory or symlink of that name
	ProblemTooLarge           // larger than MaxSidecarSize
	ProblemEmpty              // no bytes yet: the spawner may be between open and write
	ProblemNotJSON            // see ParseSidecar; half a write looks like this, too
	ProblemNotObject          // JSON, but no object
	ProblemIO                 // reading failed
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
	ProblemIO:         "io_error",
}

// String returns the reason code of p as it stands in logs and tables.
func (p Problem) String() string { return problemCodes[p] }

// An Entry is what was last read of one daemon dir. Entries compare with ==.
type Entry struct {
	Name string // the directory's name, any bytes but '/' and NUL
	Dir  FileID

	Problem   Problem   // ProblemNone: SpawnedAt and LastSeen are the sidecar's
	Sidecar   Stamp     // zero: no sidecar
	SpawnedAt Timestamp // when the spawner wrote the sidecar
	LastSeen  Timestamp // when the daemon was last known to live; falls back on SpawnedAt

	PIDFile Stamp // zero: no pid file
	PID     PID
}

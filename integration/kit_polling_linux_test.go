package integration

// The polling collector: what the running-process package does itself, flaws and all.
// The program has to get on with it in one root, and is measured by it.

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir"
)

// pollingCollector collects root as the original, written in Rust, does: it reads everything
// at every pass, truncates and rewrites the sidecar of a live daemon, and removes a stale
// dir right after it has judged it. Its methods are for one goroutine.
//
// It makes the original's system calls, seen with strace, since what it costs is what the
// program is compared with. For each dir these are:
//
//   - one stat of the dir, and open, fstat, two reads and close for the sidecar and the pid
//     file;
//   - for each pid the same for /proc/uptime and /proc/PID/stat, of which the first is for
//     nothing: the original's library for processes does it;
//   - for a live daemon the sidecar is read and parsed a second time, and written by open,
//     write and close;
//   - for a removal lstat, open, fstat, getdents, an unlink for each file, getdents, close
//     and rmdir.
//
// It leaves out some lseek and fcntl of the original's libraries, and their list of a process's
// threads, which not all versions make. What that costs is in PERFORMANCE.md.
type pollingCollector struct {
	root       string
	staleAfter time.Duration

	// enter, if not nil, is called before a dir is dealt with and returns what is to be
	// called after, or nil to pass it over. The original has no such thing: it collides
	// with whoever comes along.
	enter func(name string) (leave func())

	unusable map[string]int // by name: how often there was a sidecar that is no JSON object
	written  map[string]int // by name: how often it was rewritten
	slow     map[string]int // by name: how often that took so long that an empty one may be logged
	booted   uint64         // in ms since the epoch
	stats    map[int]int    // by pid: the descriptor of /proc/PID/stat, until the pass ends

	text     []byte // of the file that was read last
	rendered []byte // the sidecar that was written last
	entries  []byte // of the directory that was read last, as getdents64(2) returns them
}

// slowWrite is how long a write may take at most of which nothing is logged: half of how long a
// sidecar must be invalid for that. Whoever writes may get no processor right after he has
// truncated it.
const slowWrite = 500 * time.Millisecond

// pollingStats counts one pass.
type pollingStats struct{ scanned, removed, refreshed int }

func newPollingCollector(root string, staleAfter time.Duration) *pollingCollector {
	return &pollingCollector{
		root: root, staleAfter: staleAfter, unusable: make(map[string]int), written: make(map[string]int), slow: make(map[string]int),
		stats: make(map[int]int), text: make([]byte, 4096), entries: make([]byte, 1<<15),
	}
}

// pass looks at every dir once. What vanishes meanwhile is passed over; the error is
// that the root cannot be listed.
func (p *pollingCollector) pass(now time.Time) (pollingStats, error) {
	var stats pollingStats
	p.booted = p.bootTime()
	err := p.eachEntry(unix.AT_FDCWD, p.root, 0, func(_ int, name string) {
		leave := func() {}
		if p.enter != nil {
			if leave = p.enter(name); leave == nil {
				return
			}
		}
		p.visit(name, uint64(now.UnixMilli()), &stats)
		leave()
	})
	for _, fd := range p.stats {
		unix.Close(fd)
	}
	clear(p.stats)
	return stats, err
}

func (p *pollingCollector) visit(name string, now uint64, stats *pollingStats) {
	dir := p.root + "/" + name
	var stat unix.Stat_t
	if unix.Stat(dir, &stat) != nil || stat.Mode&unix.S_IFMT != unix.S_IFDIR { // symlinks are followed
		return
	}
	stats.scanned++
	path := dir + "/" + name + ".daemon.json"
	said, ok := p.readSidecar(name, path)
	if !ok {
		return
	}
	switch seen := said.Seen(); {
	case p.alive(p.readPID(dir), said.SpawnedAt.MS, said.SpawnedAt.Known):
		if p.refresh(name, path, now) {
			p.written[name]++
			stats.refreshed++
		}
	case !seen.Known, now-min(now, seen.MS) < uint64(p.staleAfter.Milliseconds()):
	default:
		if p.removeAll(dir) == nil {
			stats.removed++
		}
	}
}

// readSidecar reads and parses the sidecar of name, whose text is p.text then.
func (p *pollingCollector) readSidecar(name, path string) (said daemondir.Sidecar, ok bool) {
	if !p.read(path) {
		return said, false
	}
	// The original's parser is fast, and Go's is not: a pass must not look slower than it is.
	said, problem := daemondir.ParseSidecar(p.text)
	if problem != daemondir.ProblemNone {
		p.unusable[name]++
		return said, false
	}
	return said, true
}

// refresh sets last_seen_unix_ms to now, and says whether it has written the sidecar.
func (p *pollingCollector) refresh(name, path string, now uint64) bool {
	said, ok := p.readSidecar(name, path)
	if !ok || said.LastSeen == daemondir.At(now) {
		return false
	}
	tail, offset := said.WithLastSeen(p.text, now)
	p.text = append(p.text, tail[copy(p.text[offset:], tail):]...)
	p.rendered = appendSorted(p.rendered[:0], bytes.TrimSpace(p.text), 0)
	began := time.Now()
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return false
	}
	n, err := unix.Write(fd, p.rendered)
	unix.Close(fd)
	if time.Since(began) > slowWrite {
		p.slow[name]++
	}
	return err == nil && n == len(p.rendered)
}

// alive says whether pid exists and, if the time of the spawn is known, was started
// within 5 s of it.
func (p *pollingCollector) alive(pid int, spawnedAt uint64, spawned bool) bool {
	if pid <= 0 {
		return false
	}
	p.read("/proc/uptime")
	if !p.readStat(pid) {
		return false
	}
	if !spawned {
		return true
	}
	// The name, in brackets, may hold anything; the start is the 22nd field of all, in
	// ticks of 10 ms since boot, and is taken in whole seconds.
	at := 2
	for field := range bytes.FieldsSeq(p.text[bytes.LastIndexByte(p.text, ')')+1:]) {
		if at++; at == 22 {
			ticks, err := strconv.ParseUint(string(field), 10, 64)
			started := p.booted + ticks/100*1000
			return err == nil && max(started, spawnedAt)-min(started, spawnedAt) <= 5000
		}
	}
	return false
}

// readStat reads /proc/PID/stat into p.text.
func (p *pollingCollector) readStat(pid int) bool {
	fd, open := p.stats[pid]
	if open && p.readOpen(fd) {
		return true
	}
	if open { // of another process that had this pid
		unix.Close(fd)
		delete(p.stats, pid)
	}
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	p.stats[pid] = fd
	return p.readOpen(fd)
}

// bootTime returns when the system was started, in ms since the epoch, or 0.
func (p *pollingCollector) bootTime() uint64 {
	if !p.read("/proc/stat") {
		return 0
	}
	for line := range bytes.Lines(p.text) {
		if seconds, ok := bytes.CutPrefix(line, []byte("btime ")); ok {
			n, _ := strconv.ParseUint(string(bytes.TrimSpace(seconds)), 10, 64)
			return n * 1000
		}
	}
	return 0
}

// readPID returns what the pid file says, or 0.
func (p *pollingCollector) readPID(dir string) int {
	if !p.read(dir + "/daemon.pid") {
		return 0
	}
	pid, err := strconv.ParseInt(strings.TrimSpace(string(p.text)), 10, 32)
	if err != nil {
		return 0
	}
	return int(pid)
}

// read reads a file into p.text, and says whether it could.
func (p *pollingCollector) read(path string) bool {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return p.readOpen(fd)
}

// readOpen reads an open file, from its start, into p.text.
func (p *pollingCollector) readOpen(fd int) bool {
	var stat unix.Stat_t
	if unix.Fstat(fd, &stat) != nil {
		return false
	}
	p.text = slices.Grow(p.text[:0], int(stat.Size)+32)
	for {
		n, err := unix.Pread(fd, p.text[len(p.text):cap(p.text)], int64(len(p.text)))
		if err != nil || n == 0 {
			return err == nil
		}
		p.text = slices.Grow(p.text[:len(p.text)+n], 32)
	}
}

// eachEntry calls do for each entry of the directory path, which is relative to the
// descriptor at. What do gets is the directory's own descriptor, and a name in it.
func (p *pollingCollector) eachEntry(at int, path string, flags int, do func(fd int, name string)) error {
	fd, err := unix.Openat(at, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return err
	}
	for {
		n, err := unix.ReadDirent(fd, p.entries)
		if err != nil || n == 0 {
			return err
		}
		_, _, names := unix.ParseDirent(p.entries[:n], -1, nil)
		for _, name := range names {
			do(fd, name)
		}
	}
}

// removeAll removes a tree; a symlink is removed itself. What others remove meanwhile is
// removed.
func (p *pollingCollector) removeAll(path string) error {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return err
	}
	if stat.Mode&unix.S_IFMT == unix.S_IFLNK {
		return unix.Unlink(path)
	}
	return p.removeDir(unix.AT_FDCWD, path)
}

func (p *pollingCollector) removeDir(at int, path string) error {
	var failed error
	err := p.eachEntry(at, path, unix.O_NOFOLLOW, func(fd int, name string) {
		err := unix.Unlinkat(fd, name, 0)
		if err == unix.EISDIR {
			err = p.removeDir(fd, name)
		}
		if err != nil && err != unix.ENOENT && failed == nil {
			failed = err
		}
	})
	if err = cmp.Or(failed, err); err != nil {
		return err
	}
	return unix.Unlinkat(at, path, unix.AT_REMOVEDIR)
}

// decodeObject decodes one JSON object and nothing else. Numbers stay as written.
func decodeObject(text []byte) (map[string]any, bool) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var object map[string]any
	if err := dec.Decode(&object); err != nil || object == nil {
		return nil, false
	}
	_, err := dec.Token()
	return object, err == io.EOF
}

// millis returns a timestamp: a JSON integer from 0 to 2^64-1.
func millis(value any) (uint64, bool) {
	number, ok := value.(json.Number)
	if !ok {
		return 0, false
	}
	ms, err := strconv.ParseUint(number.String(), 10, 64)
	return ms, err == nil
}

// appendSorted appends a JSON value to out as the original writes it: the members of an
// object sorted, each on a line of its own. Strings and numbers, and a key that occurs twice,
// stay as they are. text is valid. encoding/json takes 27 us for a sidecar of 1 KB, this 5.
func appendSorted(out, text []byte, indent int) []byte {
	if text[0] != '{' && text[0] != '[' {
		return append(out, text...)
	}
	type member struct{ key, value []byte } // of an array's element, the key is empty
	var members []member
	for rest := bytes.TrimSpace(text[1 : len(text)-1]); len(rest) > 0; {
		var m member
		if text[0] == '{' {
			m.key, rest = cutValue(rest)
		}
		m.value, rest = cutValue(rest)
		members = append(members, m)
	}
	if text[0] == '{' {
		slices.SortStableFunc(members, func(a, b member) int { return bytes.Compare(a.key, b.key) })
	}
	out = append(out, text[0])
	for i, m := range members {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendLine(out, indent+2)
		if text[0] == '{' {
			out = append(append(out, m.key...), ": "...)
		}
		out = appendSorted(out, m.value, indent+2)
	}
	if len(members) > 0 {
		out = appendLine(out, indent)
	}
	return append(out, text[len(text)-1])
}

func appendLine(out []byte, indent int) []byte {
	out = append(out, '\n')
	for range indent {
		out = append(out, ' ')
	}
	return out
}

// cutValue returns the JSON value that text begins with, and what follows the comma or colon
// after it.
func cutValue(text []byte) (value, rest []byte) {
	depth, quoted, end := 0, false, 0
scan:
	for ; end < len(text); end++ {
		switch c := text[end]; {
		case quoted && c == '\\':
			end++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{', c == '[':
			depth++
		case c == '}', c == ']':
			depth--
		case depth == 0 && (c == ',' || c == ':'):
			break scan
		}
	}
	return bytes.TrimSpace(text[:end]), bytes.TrimSpace(text[min(end+1, len(text)):])
}

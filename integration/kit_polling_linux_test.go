package integration

// The polling collector: what the running-process package does itself, flaws and all.
// The program has to get on with it in one root, and is measured by it.

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"runtimegc/registry/daemondir"
)

// pollingCollector collects root as the original does: it reads everything at every
// pass, truncates and rewrites the sidecar of a live daemon, and removes a stale dir
// right after it has judged it. Its methods are for one goroutine.
type pollingCollector struct {
	root       string
	staleAfter time.Duration

	// enter, if not nil, is called before a dir is dealt with and returns what is to be
	// called after, or nil to pass it over. The original has no such thing: it collides
	// with whoever comes along.
	enter func(name string) (leave func())

	unusable map[string]int // by name: how often there was a sidecar that is no JSON object
	written  map[string]int // by name: how often it was rewritten
	booted   uint64         // in ms since the epoch
}

// pollingStats counts one pass.
type pollingStats struct{ scanned, removed, refreshed int }

func newPollingCollector(root string, staleAfter time.Duration) *pollingCollector {
	return &pollingCollector{root: root, staleAfter: staleAfter, unusable: make(map[string]int), written: make(map[string]int)}
}

// pass looks at every dir once. What vanishes meanwhile is passed over; the error is
// that the root cannot be listed.
func (p *pollingCollector) pass(now time.Time) (pollingStats, error) {
	var stats pollingStats
	entries, err := os.ReadDir(p.root)
	if err != nil {
		return stats, err
	}
	p.booted = bootTime()
	for _, entry := range entries {
		leave := func() {}
		if p.enter != nil {
			if leave = p.enter(entry.Name()); leave == nil {
				continue
			}
		}
		p.visit(entry.Name(), uint64(now.UnixMilli()), &stats)
		leave()
	}
	return stats, nil
}

func (p *pollingCollector) visit(name string, now uint64, stats *pollingStats) {
	dir := filepath.Join(p.root, name)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() { // symlinks are followed
		return
	}
	stats.scanned++
	path := filepath.Join(dir, name+".daemon.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return
	}
	// The original's parser is fast, and Go's is not: a pass must not look slower than it is.
	said, problem := daemondir.ParseSidecar(text)
	if problem != daemondir.ProblemNone {
		p.unusable[name]++
		return
	}
	spawnedAt, spawned := said.SpawnedAt.MS, said.SpawnedAt.Known
	lastSeen, seen := said.Seen().MS, said.Seen().Known
	switch {
	case p.alive(readPID(dir), spawnedAt, spawned):
		sidecar, _ := decodeObject(text)
		sidecar["last_seen_unix_ms"] = now
		if os.WriteFile(path, encodeSorted(sidecar), 0o644) == nil {
			p.written[name]++
			stats.refreshed++
		}
	case !seen, now-min(now, lastSeen) < uint64(p.staleAfter.Milliseconds()):
	default:
		if os.RemoveAll(dir) == nil {
			stats.removed++
		}
	}
}

// alive says whether pid exists and, if the time of the spawn is known, was started
// within 5 s of it.
func (p *pollingCollector) alive(pid int, spawnedAt uint64, spawned bool) bool {
	if pid <= 0 {
		return false
	}
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	if !spawned {
		return true
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	// The name, in brackets, may hold anything; the start is the 22nd field of all, in
	// ticks of 10 ms since boot, and is taken in whole seconds.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return false
	}
	ticks, err := strconv.ParseUint(fields[19], 10, 64)
	started := p.booted + ticks/100*1000
	return err == nil && max(started, spawnedAt)-min(started, spawnedAt) <= 5000
}

// bootTime returns when the system was started, in ms since the epoch, or 0.
func bootTime() uint64 {
	stat, _ := os.ReadFile("/proc/stat")
	for line := range strings.Lines(string(stat)) {
		if seconds, ok := strings.CutPrefix(line, "btime "); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(seconds), 10, 64)
			return n * 1000
		}
	}
	return 0
}

// readPID returns what the pid file says, or 0.
func readPID(dir string) int {
	text, err := os.ReadFile(filepath.Join(dir, "daemon.pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 32)
	if err != nil {
		return 0
	}
	return int(pid)
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

// encodeSorted renders an object with its keys sorted, as a map is.
func encodeSorted(object map[string]any) []byte {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(object); err != nil {
		return nil // what was decoded can be encoded
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n"))
}

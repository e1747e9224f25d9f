package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"runtimegc/prune"
	"runtimegc/registry/daemondir"
)

// logTime is RFC 3339 with milliseconds, in UTC.
const logTime = "2006-01-02T15:04:05.000Z07:00"

// newLogger returns a logger that writes one JSON object per line to out.
func newLogger(out io.Writer, level zerolog.Level) zerolog.Logger {
	// Errors quote paths, and those may contain control characters.
	zerolog.ErrorMarshalFunc = func(err error) any {
		if err == nil { // Err(nil) asks, too
			return nil
		}
		return daemondir.Printable(err.Error())
	}
	return zerolog.New(out).Level(level).Hook(zerolog.HookFunc(
		func(e *zerolog.Event, _ zerolog.Level, _ string) {
			e.Str(zerolog.TimestampFieldName, time.Now().UTC().Format(logTime))
		}))
}

// newConsole returns a writer that turns JSON lines into lines for people, in colour on a
// terminal. In the journal, which has the time and the level of each line, they are left out.
// If there are several roots, each line names its root.
func newConsole(out io.Writer, terminal, journal bool, roots int) io.Writer {
	home := daemondir.Home() // without one, paths are shown in full
	var exclude []string
	if journal {
		exclude = []string{zerolog.TimestampFieldName, zerolog.LevelFieldName}
	}
	return zerolog.ConsoleWriter{
		PartsExclude: exclude,
		Out:          out,
		NoColor:      !wantsColor(terminal),
		TimeFormat:   time.TimeOnly,
		TimeLocation: time.Local,
		FieldsOrder:  []string{"daemon", "pid", "previous_pid", "reason", "root", "dir"},
		FormatPrepare: func(fields map[string]any) error {
			humanize(fields, roots > 1, home)
			return nil
		},
	}
}

// consoleOmits are the fields of an event that the console leaves out, so that a line fits
// into 80 columns: other fields, other lines or list show the same.
var consoleOmits = map[any][]string{
	"watch.started":   {"version", "settings"},
	"daemon.removed":  {"pid", "files", "last_seen_unix_ms", "exit_code", "signal"},
	"sweep.done":      {"checked", "alive", "dead", "unknown", "invalid", "kept", "unreadable_processes"},
	"config.reloaded": {"file"},
	"sweep.requested": {"dir"},
}

// humanize rewrites the fields of one line for the console. It turns milliseconds into
// times of day and durations, writes ~ for the home directory, and drops what is zero,
// false or obvious.
func humanize(fields map[string]any, manyRoots bool, home string) {
	for _, key := range consoleOmits[fields["event"]] {
		delete(fields, key)
	}
	if fields["shared_root"] == false {
		delete(fields, "shared_root_because")
	}
	if reason := fields["reason"]; fields["event"] == "daemon.exited" && (reason == "exited" || reason == "zombie") {
		delete(fields, "reason")
	}
	if fields["event"] == "daemon.exited" && (fields["exit_code"] != nil || fields["signal"] != nil) {
		delete(fields, "pid") // daemon.live has it
	}
	if fields["event"] == "daemon.live" && fields["previous_pid"] != nil {
		delete(fields, "started_at_unix_ms") // just now
	}
	if fields["role"] == string(prune.RoleCollector) {
		delete(fields, "role") // as usual
	}
	delete(fields, "event") // the message says the same
	if fields["daemon"] != nil || fields["dir"] == fields["root"] {
		delete(fields, "dir") // it consists of the root and the daemon's name
	}
	if !manyRoots {
		delete(fields, "root")
	}
	for _, key := range []string{"dir", "root", "file"} {
		if path, ok := fields[key].(string); ok && home != "" && strings.HasPrefix(path, home+string(os.PathSeparator)) {
			fields[key] = "~" + path[len(home):]
		}
	}
	for key, value := range fields {
		if value == false {
			delete(fields, key)
		}
		number, ok := value.(json.Number)
		if !ok {
			continue
		}
		n, err := number.Float64()
		switch name, isTime := strings.CutSuffix(key, "_unix_ms"); {
		case err != nil:
		case isTime:
			delete(fields, key)
			fields[name] = clockTime(int64(n), time.Now())
		case strings.HasSuffix(key, "_ms"):
			delete(fields, key)
			text := prune.FormatDuration(prune.DurationOfMS(n), 3)
			fields[strings.TrimSuffix(key, "_ms")] = strings.ReplaceAll(text, " ", "") // the console quotes spaces
		case key == "exit_code":
			fields[key] = prune.FormatExitCode(int(n))
		case n == 0 && key != "client_uid": // that means something
			delete(fields, key)
		}
	}
}

// clockTime returns a time in ms since the epoch as the time of day, with the date if that is
// not today's.
func clockTime(ms int64, now time.Time) string {
	t := time.UnixMilli(ms).Local()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format("2006-01-02T15:04")
}

// logMode lets the group read the log file, as is usual for system logs.
const logMode = 0o640

// A logFile is opened for appending, and can be reopened after a rotation has renamed it.
type logFile struct {
	path  string
	roots []string

	next atomic.Pointer[os.File] // reopened; takes the next line

	mu sync.Mutex // guards f; held while a line is written, which can take forever
	f  *os.File
}

func openLogFile(path string, roots []string) (*logFile, error) {
	l := &logFile{path: path, roots: roots}
	return l, l.reopen()
}

// reopen opens the file before the old one is closed, so that no line is lost. It does not
// wait for a line that is being written.
func (l *logFile) reopen() error {
	if err := refuseInRoot("the log file", l.path, l.path, l.roots); err != nil {
		return err
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, logMode)
	if err != nil {
		return fmt.Errorf("opening log file: %w", err)
	}
	if unused := l.next.Swap(f); unused != nil {
		unused.Close()
	}
	if l.mu.TryLock() { // else the next line does it
		l.change()
		l.mu.Unlock()
	}
	return nil
}

// change takes the reopened file, if there is one. The caller holds mu.
func (l *logFile) change() {
	next := l.next.Swap(nil)
	if next == nil {
		return
	}
	if l.f != nil {
		l.f.Close()
	}
	l.f = next
}

func (l *logFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.change()
	return l.f.Write(line)
}

package main

import (
	"encoding/json"
	"io"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"runtimegc/prune"
	"runtimegc/registry/daemondir"
)

// logTime is RFC 3339 with milliseconds, in UTC.
const logTime = "2006-01-02T15:04:05.000Z07:00"

// newLogger returns a logger that writes one JSON object a line to out.
func newLogger(out io.Writer, level zerolog.Level) zerolog.Logger {
	// Errors quote paths, and those are what others make them.
	zerolog.ErrorMarshalFunc = func(err error) any { return daemondir.Printable(err.Error()) }
	return zerolog.New(out).Level(level).Hook(zerolog.HookFunc(
		func(e *zerolog.Event, _ zerolog.Level, _ string) {
			e.Str(zerolog.TimestampFieldName, time.Now().UTC().Format(logTime))
		}))
}

// newConsole returns a writer that turns JSON lines into lines for a person, in colour
// on a terminal. With several roots a line says whose it is.
func newConsole(out io.Writer, terminal bool, roots int) io.Writer {
	home, _ := os.UserHomeDir() // none: paths stay as they are
	return zerolog.ConsoleWriter{
		Out:          out,
		NoColor:      !wantsColor(terminal),
		TimeFormat:   time.TimeOnly,
		TimeLocation: time.Local,
		FieldsOrder:  []string{"daemon", "pid", "previous_pid", "reason", "root", "dir"},
		FormatPrepare: func(fields map[string]any) error {
			forPeople(fields, roots > 1, home)
			return nil
		},
	}
}

// untold are the fields of an event that a person can do without, so that a line fits
// 80 columns: other fields or lines say the same. Of a sweep it says what was done; how
// things stand is for list.
var untold = map[any][]string{
	"watch.started":   {"version"},
	"daemon.removed":  {"pid", "files", "last_seen_unix_ms"},
	"sweep.done":      {"checked", "alive", "dead", "unknown", "invalid", "kept", "unreadable_processes"},
	"config.reloaded": {"file"},
}

// forPeople rewrites the fields of one line: times of day and durations instead of
// milliseconds, ~ for the home directory, and nothing that goes without saying.
func forPeople(fields map[string]any, manyRoots bool, home string) {
	for _, key := range untold[fields["event"]] {
		delete(fields, key)
	}
	if reason := fields["reason"]; fields["event"] == "daemon.exited" && (reason == "exited" || reason == "zombie") {
		delete(fields, "reason")
	}
	if fields["event"] == "daemon.live" && fields["previous_pid"] != nil {
		delete(fields, "started_at_unix_ms") // just now
	}
	delete(fields, "event") // the message says it
	if fields["daemon"] != nil || fields["dir"] == fields["root"] {
		delete(fields, "dir") // the root's, and the daemon's name
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
			fields[name] = clock(int64(n), time.Now())
		case strings.HasSuffix(key, "_ms"):
			delete(fields, key)
			fields[strings.TrimSuffix(key, "_ms")] = strings.ReplaceAll(prune.FormatDuration(prune.DurationOfMS(n), 3), " ", "") // or it would be quoted
		case n == 0:
			delete(fields, key)
		}
	}
}

// clock writes a time in ms since the epoch as the time of day, with the date if that
// is not today's.
func clock(ms int64, now time.Time) string {
	t := time.UnixMilli(ms).Local()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format("2006-01-02T15:04")
}

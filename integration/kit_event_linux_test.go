package integration

// A line of the log, and what the contract says of it.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// levels is the contract's table of events.
var levels = map[string][]string{
	"watch.started":     {"info"},
	"watch.stopped":     {"info"},
	"root.missing":      {"info", "warn"},
	"root.found":        {"info"},
	"root.lost":         {"warn"},
	"root.taken_over":   {"info"},
	"root.locked":       {"warn"},
	"daemon.added":      {"info"},
	"daemon.live":       {"info"},
	"daemon.exited":     {"info"},
	"daemon.gone":       {"info"},
	"daemon.removed":    {"info"},
	"daemon.kept":       {"info"},
	"sidecar.invalid":   {"warn"},
	"sidecar.refreshed": {"debug"},
	"sweep.done":        {"debug", "info"}, // see checkSweep
	"sweep.stuck":       {"warn"},
	"events.overflow":   {"warn"},
	"registry.resynced": {"info"},
	"watch.degraded":    {"warn"},
	"watch.restored":    {"info"},

	// Beyond the contract: a refresh that the system refuses, the metrics, a SIGHUP.
	"sidecar.unwritable": {"warn"},
	"metrics.listening":  {"info"},
	"metrics.failed":     {"warn"},
	"metrics.restored":   {"info"},
	"metrics.http":       {"debug"},
	"config.reloaded":    {"info"},
	"config.invalid":     {"warn"},
	"config.unknown":     {"warn"},
	"log.unwritable":     {"warn"},
	"log.dropped":        {"warn"},
	"root.shared":        {"info"},
	"proc.foreign":       {"warn"},

	// What list and prune ask.
	"sweep.requested":     {"info"},
	"control.unavailable": {"warn"},
}

// event is one line of the log.
type event struct {
	arrived time.Time // when the test read it
	time    time.Time // what it says
	level   string
	event   string
	daemon  string
	reason  string
	line    string
	fields  map[string]any
}

// has says whether the line has that field.
func (e event) has(key string) bool { _, ok := e.fields[key]; return ok }

// number returns an integer field, or -1.
func (e event) number(key string) int64 {
	n, ok := e.fields[key].(json.Number)
	if !ok {
		return -1
	}
	i, err := n.Int64()
	if err != nil {
		return -1
	}
	return i
}

// rfc3339UTC is RFC 3339 in UTC with milliseconds or finer.
var rfc3339UTC = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,9}Z$`)

// parseEvent reads one line, with its newline, and checks it against the contract.
// dryRun says that the log is a dry run's.
func parseEvent(line []byte, dryRun bool) (event, error) {
	e := event{arrived: time.Now(), line: string(line)}
	text, whole := bytes.CutSuffix(line, []byte("\n"))
	if !whole {
		return e, errors.New("the last line has no newline")
	}
	if err := printable(string(text)); err != nil {
		return e, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&e.fields); err != nil {
		return e, fmt.Errorf("no JSON object: %w", err)
	}
	if dec.More() {
		return e, errors.New("more than one JSON object")
	}
	str := func(key string) string { s, _ := e.fields[key].(string); return s }
	e.level, e.event, e.daemon, e.reason = str("level"), str("event"), str("daemon"), str("reason")
	if str("message") == "" {
		return e, errors.New("no message")
	}
	allowed, known := levels[e.event]
	if !known {
		return e, fmt.Errorf("event %q is not in the contract", e.event)
	}
	if !slices.Contains(allowed, e.level) {
		return e, fmt.Errorf("%s is at level %q, not %s", e.event, e.level, strings.Join(allowed, " or "))
	}
	if !rfc3339UTC.MatchString(str("time")) {
		return e, fmt.Errorf("time %q is not RFC 3339 in UTC with milliseconds", str("time"))
	}
	var err error
	if e.time, err = time.Parse(time.RFC3339Nano, str("time")); err != nil {
		return e, err
	}
	if strings.HasPrefix(e.event, "daemon.") || strings.HasPrefix(e.event, "sidecar.") {
		if e.daemon == "" || str("dir") == "" {
			return e, errors.New("it does not say which daemon")
		}
	}
	if e.event == "sweep.done" {
		return e, e.checkSweep(dryRun)
	}
	return e, nil
}

// checkSweep checks the end of a sweep: at info level if, and only if, it removed
// something. A dry run removes nothing.
func (e event) checkSweep(dryRun bool) error {
	for _, key := range []string{"checked", "alive", "dead", "unknown", "refreshed", "removed", "kept", "failed"} {
		if e.number(key) < 0 {
			return fmt.Errorf("sweep.done lacks %s", key)
		}
	}
	if !e.has("duration_ms") {
		return errors.New("sweep.done lacks duration_ms")
	}
	removed := !dryRun && e.number("removed") > 0
	if removed != (e.level == "info") {
		return fmt.Errorf("sweep.done is at level %s, removed anything: %v", e.level, removed)
	}
	return nil
}

// printable returns an error if text has a byte that could break a line or steer a
// terminal.
func printable(text string) error {
	if !utf8.ValidString(text) {
		return errors.New("invalid UTF-8")
	}
	for _, r := range text {
		if unicode.IsControl(r) {
			return fmt.Errorf("control character %U", r)
		}
	}
	return nil
}

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtimegc/registry/daemondir/daemondirtest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// A line of the log: one JSON object, its time in UTC with milliseconds, whatever the zone.
func TestLogLine(t *testing.T) {
	local := time.Local
	time.Local = time.FixedZone("here", 5*3600+1800)
	defer func() { time.Local = local }()
	before := time.Now().Truncate(time.Millisecond)
	var out bytes.Buffer
	log := newLogger(&out, zerolog.InfoLevel)
	log.Info().Err(nil).Str("event", "x").Msg("said")
	log.Debug().Msg("not said")
	var line map[string]string
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v: %q", err, out.String())
	}
	when, err := time.Parse(time.RFC3339Nano, line["time"])
	if err != nil || !strings.HasSuffix(line["time"], "Z") || len(line["time"]) != len("2006-01-02T15:04:05.000Z") ||
		when.Before(before) || when.After(time.Now()) {
		t.Errorf("time is %q", line["time"])
	}
	if _, failed := line["error"]; failed || line["level"] != "info" || line["message"] != "said" {
		t.Errorf("got %v", line)
	}
}

// The console writes times and durations as people do, and omits what is zero.
func TestConsoleLine(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	var out bytes.Buffer
	log := newLogger(newConsole(&out, false, false, 1), zerolog.InfoLevel)
	at := time.Now().Add(time.Second)
	log.Info().Str("event", "daemon.exited").Str("daemon", "a").Str("dir", "/r/a").Uint32("pid", 7).
		Uint64("stale_at_unix_ms", uint64(at.UnixMilli())).Float64("age_ms", 3_600_123).Int("failed", 0).
		Bool("dry_run", false).Msg("daemon has exited")
	line := out.String()
	for _, want := range []string{"INF daemon has exited daemon=a pid=7 ", " age=1h", " stale_at=" + at.Format("15:04")} {
		if !strings.Contains(line, want) {
			t.Errorf("%q lacks %q", line, want)
		}
	}
	for _, not := range []string{"event", "dir=", "failed", "dry_run", "unix_ms"} {
		if strings.Contains(line, not) {
			t.Errorf("%q has %q", line, not)
		}
	}
}

// The console omits what other fields have, so that a line fits a screen, but not the
// root if there are several.
func TestConsoleIsBrief(t *testing.T) {
	home := filepath.FromSlash("/home/u")
	root := filepath.Join(home, "run", "runtime")
	line := func(manyRoots bool, fields map[string]any) string {
		t.Helper()
		humanize(fields, manyRoots, home)
		var keys []string
		for key, value := range fields {
			keys = append(keys, fmt.Sprint(key, "=", value))
		}
		slices.Sort(keys)
		return strings.Join(keys, " ")
	}
	tilde := filepath.FromSlash("~/run/runtime")
	for _, row := range []struct {
		manyRoots bool
		fields    map[string]any
		want      string
	}{
		{false, map[string]any{"event": "watch.started", "root": root, "version": "v1", "stale_after_ms": json.Number("21600000"), "sweep_interval_ms": json.Number("330000")}, "stale_after=6h sweep_interval=5m30s"},
		{true, map[string]any{"event": "watch.started", "root": root, "stale_after_ms": json.Number("60000")}, "root=" + tilde + " stale_after=1m"},
		{false, map[string]any{"event": "root.found", "dir": root}, "dir=" + tilde},
		{true, map[string]any{"event": "root.found", "dir": root, "root": root}, "root=" + tilde},
		{true, map[string]any{"event": "daemon.added", "daemon": "a", "dir": root + "/a", "root": home + "x"}, "daemon=a root=" + home + "x"},
		{false, map[string]any{"event": "daemon.exited", "daemon": "a", "reason": "exited"}, "daemon=a"},
		{false, map[string]any{"event": "daemon.exited", "daemon": "a", "reason": "pid_reused"}, "daemon=a reason=pid_reused"},
		{false, map[string]any{"event": "daemon.exited", "exit_code": json.Number("0"), "pid": json.Number("7")}, "exit_code=0"},
		{false, map[string]any{"event": "daemon.exited", "exit_code": json.Number("3221225477")}, "exit_code=0xc0000005"},
		{false, map[string]any{
			"event": "sweep.done", "checked": json.Number("470"), "alive": json.Number("120"), "dead": json.Number("130"),
			"unknown": json.Number("110"), "invalid": json.Number("110"), "refreshed": json.Number("120"), "removed": json.Number("130"),
			"kept": json.Number("220"), "failed": json.Number("0"), "unreadable_processes": json.Number("101"), "duration_ms": json.Number("46.123"),
		}, "duration=46.1ms refreshed=120 removed=130"},
	} {
		if got := line(row.manyRoots, row.fields); got != row.want {
			t.Errorf("got %q, want %q", got, row.want)
		}
	}
}

// logDir returns a directory for log files. A command leaves its own open until the process
// ends, and on Windows an open file cannot be removed: then the directory stays.
func logDir(t *testing.T) string {
	t.Helper()
	if runtime.GOOS != "windows" {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("", "runtimegc-log-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// The log is appended to the file, and does not go to stderr. Other users cannot read it.
func TestLogFile(t *testing.T) {
	dir := logDir(t)
	path := filepath.Join(dir, "log")
	for n := 1; n <= 2; n++ {
		var stdout, stderr bytes.Buffer
		// A root that does not exist is a warning.
		if code := run(t.Context(), []string{"list", "--root", dir + "/none", "--log-file", path}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
			t.Errorf("exit code %d; %s", code, &stderr)
		}
		text, err := os.ReadFile(path)
		if err != nil || strings.Count(string(text), "root.missing") != n {
			t.Errorf("after %d runs: %v\n%s", n, err, text)
		}
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm()&0o137 != 0 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// In a root, each line of the log would be an event, and the file might be removed with a
// daemon. A file that cannot be written is an error at the start.
func TestLogFileIsRefused(t *testing.T) {
	dir := logDir(t)
	root := filepath.Join(dir, "root")
	if err := os.MkdirAll(filepath.Join(root, "daemon"), 0o755); err != nil {
		t.Fatal(err)
	}
	rows := map[string]struct {
		path string
		code int
	}{
		"in the root":            {root + "/log", 2},
		"in a daemon's dir":      {root + "/daemon/log", 2},
		"under what is no dir":   {root + "/none/log", 2},
		"the root itself":        {root, 2},
		"in, otherwise spelled":  {dir + "/x/../root/log", 2},
		"a directory":            {dir, 1},
		"in no directory":        {dir + "/none/log", 1},
		"in what is a file":      {write(t, dir+"/file", "") + "/log", 1},
		"empty":                  {"", 2},
		"beside, a similar name": {root + "-log", 0},
	}
	if daemondirtest.Symlink(root, dir+"/link") == nil && daemondirtest.Symlink(root+"/daemon/log", dir+"/log") == nil {
		rows["in, through a symlink"] = struct {
			path string
			code int
		}{dir + "/link/log", 2}
		rows["a symlink into it"] = struct {
			path string
			code int
		}{dir + "/log", 2}
	}
	for rule, row := range rows {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), []string{"list", "--root", root, "--log-file", row.path}, &stdout, &stderr); code != row.code {
			t.Errorf("%s: exit code %d, want %d; %s", rule, code, row.code, &stderr)
		}
	}
	if left, _ := os.ReadDir(root); len(left) != 1 {
		t.Errorf("left in the root: %v", left)
	}
}

// A rotation loses or tears no line, whenever it comes. If the file cannot be reopened,
// the old one stays in use.
func TestLogFileIsReopened(t *testing.T) {
	dir := logDir(t)
	path := filepath.Join(dir, "log")
	l, err := openLogFile(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	const writers, lines, rotations = 4, 500, 20
	var running sync.WaitGroup
	for w := range writers {
		running.Go(func() {
			for i := range lines {
				if _, err := fmt.Fprintf(l, "writer %d line %d\n", w, i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range rotations {
		if err := os.Rename(path, fmt.Sprintf("%s.%d", path, i)); err != nil {
			t.Skipf("an open file cannot be renamed here: %v", err)
		}
		if err := l.reopen(); err != nil {
			t.Error(err)
		}
	}
	running.Wait()
	var all strings.Builder
	files, _ := filepath.Glob(path + "*")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	seen := make(map[string]int)
	for _, line := range strings.Split(strings.TrimSpace(all.String()), "\n") {
		seen[line]++
	}
	for w := range writers {
		for i := range lines {
			if n := seen[fmt.Sprintf("writer %d line %d", w, i)]; n != 1 {
				t.Fatalf("line %d of writer %d is there %d times", i, w, n)
			}
		}
	}

	if err := os.Rename(path, path+".last"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := l.reopen(); err == nil {
		t.Error("a directory was opened")
	}
	fmt.Fprintln(l, "after a failure")
	if text, _ := os.ReadFile(path + ".last"); !strings.Contains(string(text), "after a failure") {
		t.Errorf("the old file is no longer in use: %q", text)
	}
}

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// The log goes to the file, appended to what is there, and not to stderr; it is nobody
// else's to read.
func TestLogFile(t *testing.T) {
	dir := t.TempDir()
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

// Under a root a log would be an event of its own lines, and be removed with its
// daemon; where it cannot be written nobody would read it.
func TestLogFileIsRefused(t *testing.T) {
	dir := t.TempDir()
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
	if os.Symlink(root, dir+"/link") == nil && os.Symlink(root+"/daemon/log", dir+"/log") == nil {
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

// No line is lost or torn by a rotation, whenever it comes; one that fails leaves the
// old file in use.
func TestLogFileIsReopened(t *testing.T) {
	dir := t.TempDir()
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
		t.Errorf("the old file did not go on: %q", text)
	}
}

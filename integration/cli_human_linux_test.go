package integration

// What list and prune print for people.

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// A table is read by its columns: each begins where its heading does. Times are said
// as people say them.
func TestListForPeople(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.spawn("live")
	d := s.spawnAs("a-daemon-with-quite-a-long-name", daemondirtest.Sidecar(ago(3*time.Hour+10*time.Minute), ago(47*time.Minute+30*time.Second)))
	d.kill()
	s.dead("due", 50*time.Hour)
	s.leave("broken", nil, "")
	o := run(t, "list", "--root", root).must(t)
	lines := strings.Split(strings.TrimSuffix(o.stdout, "\n"), "\n")
	if len(lines) != 5 {
		t.Fatalf("want a heading and 4 rows:\n%s", o.stdout)
	}
	var columns []int
	for _, heading := range regexp.MustCompile(`\S+( \S+)*`).FindAllStringIndex(lines[0], -1) {
		columns = append(columns, heading[0])
	}
	if len(columns) < 5 {
		t.Errorf("want the columns apart from each other: %q", lines[0])
	}
	for _, line := range lines[1:] {
		for _, at := range columns {
			if at >= len(line) || line[at] == ' ' || at > 0 && line[at-1] != ' ' {
				t.Errorf("not aligned with its heading at column %d:\n%s", at, o.stdout)
				break
			}
		}
	}
	// What goes next comes first, what lives last.
	for i, name := range []string{"due", "a-daemon-with-quite-a-long-name", "broken", "live"} {
		if !strings.HasPrefix(lines[i+1], name+" ") {
			t.Errorf("row %d is not of %s:\n%s", i+1, name, o.stdout)
		}
	}
	row := func(name string) string {
		for _, line := range lines {
			if strings.HasPrefix(line, name+" ") {
				return line
			}
		}
		t.Errorf("%s is not listed:\n%s", name, o.stdout)
		return ""
	}
	for name, words := range map[string][]string{
		"live":                            {"alive", "its process runs"},
		"a-daemon-with-quite-a-long-name": {"dead", "it was alive too recently", "47m ago", "5h 12m"},
		"due":                             {"dead", "its process has exited", "2d ago", "now"},
		"broken":                          {"invalid", "its sidecar is empty", "-", "never"},
	} {
		for _, word := range words {
			if !strings.Contains(row(name)+" ", " "+word+" ") {
				t.Errorf("%q does not say %q", row(name), word)
			}
		}
	}
	if o.stderr != "" {
		t.Errorf("list had something to say: %s", o.stderr)
	}
}

// prune says what it did, and its dry run what it would do.
func TestPruneForPeople(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.spawn("live")
	s.dead("due", stale)
	s.dead("recent", time.Minute)
	for _, step := range []struct {
		args []string
		want []string
	}{
		{[]string{"--dry-run"}, []string{`would be removed +due +\(exited\)`, `3 scanned, 1 would be removed, 1 would be refreshed, 1 kept, 0 failed`}},
		{nil, []string{`(?m)^removed +due +\(exited\)$`, `(?m)^3 scanned, 1 removed, 1 refreshed, 1 kept, 0 failed$`}},
		{nil, []string{`(?m)^2 scanned, 0 removed, 1 refreshed, 1 kept, 0 failed$`}},
	} {
		o := run(t, append([]string{"prune", "--root", root}, step.args...)...).must(t)
		for _, want := range step.want {
			if !regexp.MustCompile(want).MatchString(o.stdout) {
				t.Errorf("prune %q does not say %s:\n%s", step.args, want, o.stdout)
			}
		}
		if strings.Contains(o.stdout, "removed  live") || o.stderr != "" {
			t.Errorf("prune %q:\n%s\n%s", step.args, o.stdout, o.stderr)
		}
	}
}

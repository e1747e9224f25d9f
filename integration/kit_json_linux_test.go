package integration

// The objects that list --json and prune --json print.

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"testing"
)

// object is a JSON object as printed, to the type of each value.
type object map[string]json.RawMessage

// text returns a string value.
func (o object) text(t *testing.T, key string) string {
	t.Helper()
	var s string
	if err := json.Unmarshal(o[key], &s); err != nil {
		t.Errorf("%s is %s, want a string", key, o[key])
	}
	return s
}

// number returns an integer value.
func (o object) number(t *testing.T, key string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(string(o[key]), 10, 64)
	if err != nil {
		t.Errorf("%s is %s, want an integer", key, o[key])
	}
	return n
}

var (
	rowKeys = []string{"name", "dir", "pid", "state", "reason",
		"spawned_at_unix_ms", "last_seen_unix_ms", "started_at_unix_ms", "stale_at_unix_ms"}
	pruneKeys = []string{"scanned_dirs", "removed_dirs", "refreshed_sidecars", "kept_dirs", "failed_dirs", "dry_run", "daemons"}
)

// knownKeys are those that a row has only if their value is known.
var knownKeys = []string{"details", "used_by", "ending"}

// mustHave fails the test unless the object has these keys and no other, but for the knownKeys.
func (o object) mustHave(t *testing.T, keys ...string) {
	t.Helper()
	got, want := slices.Sorted(maps.Keys(o)), slices.Sorted(slices.Values(keys))
	got = slices.DeleteFunc(got, func(key string) bool { return slices.Contains(knownKeys, key) })
	if !slices.Equal(got, want) {
		t.Errorf("keys %q, want %q", got, want)
	}
}

// listJSON runs list --json and returns its rows by name.
func listJSON(t *testing.T, root string, args ...string) map[string]object {
	t.Helper()
	o := run(t, append([]string{"list", "--root", root, "--json"}, args...)...).must(t)
	var rows []object
	if err := json.Unmarshal([]byte(o.stdout), &rows); err != nil || rows == nil {
		t.Fatalf("list --json printed no array: %v\n%s", err, o.stdout)
	}
	return byName(t, rows, rowKeys...)
}

func byName(t *testing.T, rows []object, keys ...string) map[string]object {
	t.Helper()
	named := make(map[string]object)
	for _, row := range rows {
		row.mustHave(t, keys...)
		named[row.text(t, "name")] = row
	}
	if len(named) != len(rows) {
		t.Errorf("%d rows have %d names", len(rows), len(named))
	}
	return named
}

// pruneJSON runs prune --json and returns its object and its rows by name.
func pruneJSON(t *testing.T, root string, args ...string) (object, map[string]object) {
	t.Helper()
	o := run(t, append([]string{"prune", "--root", root, "--json"}, args...)...).must(t)
	var result object
	if err := json.Unmarshal([]byte(o.stdout), &result); err != nil {
		t.Fatalf("prune --json printed no object: %v\n%s", err, o.stdout)
	}
	result.mustHave(t, pruneKeys...)
	var rows []object
	if err := json.Unmarshal(result["daemons"], &rows); err != nil || rows == nil {
		t.Fatalf("daemons is no array: %v: %s", err, result["daemons"])
	}
	return result, byName(t, rows, append(rowKeys, "decision")...)
}

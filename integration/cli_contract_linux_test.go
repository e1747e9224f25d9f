package integration

// The objects that prune --json and list --json print.

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What list and prune say of every kind of dir, key by key; and what prune then does
// is what its dry run said, while the dry run itself changes nothing whatever.
func TestEveryKindOfDir(t *testing.T) {
	notUnderRace(t)
	t.Parallel()
	root, kinds := fixtures(t)
	began := time.Now()
	before := snapshot(t, root)
	listed := listJSON(t, root)
	dry, dryRows := pruneJSON(t, root, "--dry-run")
	before.mustEqual(t, snapshot(t, root))

	for name, k := range kinds {
		row, ok := listed[name]
		if !ok {
			t.Errorf("%s is not listed", name)
			continue
		}
		k.mustMatch(t, row, filepath.Join(root, name), began)
		k.mustMatch(t, dryRows[name], filepath.Join(root, name), began)
		if got := row.text(t, "reason"); got != k.reason {
			t.Errorf("%s is listed with reason %q, want %q", name, got, k.reason)
		}
		if d, r := dryRows[name].text(t, "decision"), dryRows[name].text(t, "reason"); d != k.decision || r != k.reason {
			t.Errorf("prune would %s %s for reason %q, want %s, %q", d, name, r, k.decision, k.reason)
		}
	}
	mustName(t, "list", listed, kinds)
	mustName(t, "prune --dry-run", dryRows, kinds)

	done, rows := pruneJSON(t, root)
	mustName(t, "prune", rows, kinds)
	for name, row := range rows {
		for _, key := range []string{"decision", "reason", "state", "pid"} {
			if got, said := string(row[key]), string(dryRows[name][key]); got != said {
				t.Errorf("%s of %s: the dry run said %s, prune did %s", key, name, said, got)
			}
		}
	}
	if string(dry["dry_run"]) != "true" || string(done["dry_run"]) != "false" {
		t.Errorf("dry_run is %s in a dry run, else %s", dry["dry_run"], done["dry_run"])
	}
	for key := range dry {
		if key != "dry_run" && key != "daemons" && string(dry[key]) != string(done[key]) {
			t.Errorf("%s: the dry run said %s, prune did %s", key, dry[key], done[key])
		}
	}
	mustCount(t, done, kinds)
	mustBeDone(t, root, kinds, before)
}

// mustCount checks the totals of a prune.
func mustCount(t *testing.T, result object, kinds map[string]kind) {
	t.Helper()
	want := map[string]int64{"scanned_dirs": int64(len(kinds)), "failed_dirs": 0}
	for _, k := range kinds {
		want[map[string]string{"remove": "removed_dirs", "refresh": "refreshed_sidecars", "keep": "kept_dirs"}[k.decision]]++
	}
	for key, n := range want {
		if got := result.number(t, key); got != n {
			t.Errorf("%s is %d, want %d", key, got, n)
		}
	}
}

// mustBeDone checks the root after a prune.
func mustBeDone(t *testing.T, root string, kinds map[string]kind, before tree) {
	t.Helper()
	after := snapshot(t, root)
	for name, k := range kinds {
		dir := filepath.Join(root, name)
		_, there := after[dir]
		switch {
		case name == ".pruned-left-live":
			if _, back := after[filepath.Join(root, "left-live", "left-live.daemon.json")]; there || !back {
				t.Errorf("%s must be put back: still there %v, back %v", name, there, back)
			}
		case k.decision == "remove":
			if there {
				t.Errorf("%s is still there", name)
			}
		case k.decision == "keep":
			if before[dir] != after[dir] {
				t.Errorf("%s was kept, but has changed from %s to %s", name, orGone(before[dir]), orGone(after[dir]))
			}
		case !there:
			t.Errorf("%s is gone", name)
		}
	}
	for _, name := range []string{"linked-dir", "a-file"} {
		if path := filepath.Join(root, name); before[path] != after[path] {
			t.Errorf("%s has changed to %s", name, orGone(after[path]))
		}
	}
	if target, err := filepath.EvalSymlinks(filepath.Join(root, "linked-dir")); err != nil {
		t.Error(err)
	} else if _, err := os.Stat(filepath.Join(target, "linked-dir.daemon.json")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat("/etc/passwd"); err != nil {
		t.Error(err)
	}
}

// A crash between the rename and the end of a removal leaves a quarantined dir; its
// daemon may have been spawned anew since. The one must go, the other stay.
func TestLeftoverBesideItsSuccessor(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("d", stale)
	noError(t, os.Rename(s.dir("d"), s.dir(".pruned-d")))
	d := s.spawn("d")
	_, rows := pruneJSON(t, root)
	if got := rows[".pruned-d"].text(t, "decision"); got != "remove" {
		t.Errorf("decision %q on the leftover, want remove", got)
	}
	if _, err := os.Lstat(s.dir(".pruned-d")); !os.IsNotExist(err) {
		t.Errorf("the leftover: %v", err)
	}
	if err := d.complete(); err != nil {
		t.Error(err)
	}
}

// The same, but the leftover must not go: its name is taken, so it stays where it is,
// and that is nothing to fail for, now or at every pass to come.
func TestLeftoverInUseBesideItsSuccessor(t *testing.T) {
	t.Parallel()
	root := runtimeRoot(t)
	s := newSpawner(t, root)
	s.dead("d", stale)
	noError(t, os.Rename(s.dir("d"), s.dir(".pruned-d")))
	bystander(t, s.dir(".pruned-d"))
	d := s.spawn("d")
	for _, args := range [][]string{{"--dry-run"}, nil} {
		result, rows := pruneJSON(t, root, args...)
		if d, r := rows[".pruned-d"].text(t, "decision"), rows[".pruned-d"].text(t, "reason"); d != "keep" || r != "in_use" {
			t.Errorf("prune %q: decision %s, reason %s on the leftover, want keep, in_use", args, d, r)
		}
		if n := result.number(t, "failed_dirs"); n != 0 {
			t.Errorf("prune %q: %d failed", args, n)
		}
	}
	for _, name := range []string{"d", ".pruned-d"} {
		if _, err := os.Lstat(filepath.Join(root, name, "d.daemon.json")); err != nil {
			t.Error(err)
		}
	}
	if err := d.complete(); err != nil {
		t.Error(err)
	}
}

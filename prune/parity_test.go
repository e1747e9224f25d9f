package prune

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// TestParity goes through the original collector's behaviour case by case: its own unit
// tests, and the edges of the formats it reads. Each row says what the original decides
// (read off its source: serde_json's from_str and as_u64, Rust's trim and u32::from_str,
// 5 s of tolerance) and, where we differ, what we decide and why.
//
// now is 20,000 ms after the epoch and stale_after 5 s, as in the original's own tests,
// so a timestamp up to 15,000 is stale.
func TestParity(t *testing.T) {
	const (
		skip    = Keep // the original counts the dir as scanned and does nothing
		keep    = Keep
		refresh = Refresh
		remove  = Remove
	)
	now := time.UnixMilli(20_000)
	dead := strconv.Itoa(daemondirtest.DeadPID)
	self := strconv.Itoa(os.Getpid()) // alive, and not a trampoline
	stale := `{"command": "python", "spawned_at_unix_ms": 1000, "last_seen_unix_ms": 2000}`
	lastSeen := func(value string) string { return `{"last_seen_unix_ms": ` + value + `}` }
	nested := func(levels int) string { // an object with levels-1 arrays in it
		return lastSeen("2000, \"a\": " + strings.Repeat("[", levels-1) + strings.Repeat("]", levels-1))
	}

	for _, row := range []struct {
		rule     string
		sidecar  string
		pid      string
		original Decision
		ours     Decision // empty: the same
		why      string
	}{
		// The original's unit tests.
		{rule: "removes dead stale dirs", sidecar: stale, pid: dead, original: remove},
		{rule: "keeps recent dead dirs", sidecar: `{"command": "python", "spawned_at_unix_ms": 1000, "last_seen_unix_ms": 19500}`, pid: dead, original: keep},
		{rule: "refreshes alive sidecars", sidecar: `{"command": "python", "last_seen_unix_ms": 1000}`, pid: self, original: refresh},

		// Staleness.
		{rule: "stale to the ms", sidecar: lastSeen("15000"), pid: dead, original: remove},
		{rule: "one ms short of stale", sidecar: lastSeen("15001"), pid: dead, original: keep},
		{rule: "seen in the future", sidecar: lastSeen("99999"), pid: dead, original: keep},
		{rule: "last_seen falls back on spawned_at, stale", sidecar: `{"spawned_at_unix_ms": 15000}`, pid: dead, original: remove},
		{rule: "last_seen falls back on spawned_at, recent", sidecar: `{"spawned_at_unix_ms": 15001}`, pid: dead, original: keep},
		{rule: "a last_seen that is no timestamp falls back, too", sidecar: `{"last_seen_unix_ms": "x", "spawned_at_unix_ms": 15000}`, pid: dead, original: remove},
		{rule: "last_seen before spawned_at counts all the same", sidecar: `{"last_seen_unix_ms": 1, "spawned_at_unix_ms": 19000}`, pid: dead, original: remove},
		{rule: "no timestamp", sidecar: `{}`, pid: dead, original: skip},

		// What is a timestamp.
		{rule: "0", sidecar: lastSeen("0"), pid: dead, original: remove},
		{rule: "2^64-1", sidecar: lastSeen("18446744073709551615"), pid: dead, original: keep},
		{rule: "2^64 is a float", sidecar: lastSeen("18446744073709551616"), pid: dead, original: skip},
		{rule: "-1", sidecar: lastSeen("-1"), pid: dead, original: skip},
		{rule: "-0 is a float", sidecar: lastSeen("-0"), pid: dead, original: skip},
		{rule: "1.0", sidecar: lastSeen("1.0"), pid: dead, original: skip},
		{rule: "1e3", sidecar: lastSeen("1e3"), pid: dead, original: skip},
		{rule: `"1"`, sidecar: lastSeen(`"1"`), pid: dead, original: skip},
		{rule: "null", sidecar: lastSeen("null"), pid: dead, original: skip},
		{rule: "true", sidecar: lastSeen("true"), pid: dead, original: skip},
		{rule: "[1]", sidecar: lastSeen("[1]"), pid: dead, original: skip},

		// Keys.
		{rule: "of a duplicate key the last counts, recent", sidecar: `{"last_seen_unix_ms": 1, "last_seen_unix_ms": 19000}`, pid: dead, original: keep},
		{rule: "of a duplicate key the last counts, stale", sidecar: `{"last_seen_unix_ms": 19000, "last_seen_unix_ms": 1}`, pid: dead, original: remove},
		{rule: "of a duplicate key the last counts, no timestamp", sidecar: `{"last_seen_unix_ms": 1, "last_seen_unix_ms": null}`, pid: dead, original: skip},
		{rule: "an escaped key is the key", sidecar: `{"last\u005fseen_unix_ms": 1}`, pid: dead, original: remove},
		{rule: "case matters", sidecar: `{"Last_seen_unix_ms": 1}`, pid: dead, original: skip},
		{rule: "a key further down does not count", sidecar: `{"env": {"last_seen_unix_ms": 1}}`, pid: dead, original: skip},

		// What is a sidecar.
		{rule: "trailing white space", sidecar: stale + " \n\t\r", pid: dead, original: remove},
		{rule: "trailing garbage", sidecar: stale + "x", pid: dead, original: skip},
		{rule: "two objects", sidecar: stale + stale, pid: dead, original: skip},
		{rule: "trailing NUL", sidecar: stale + "\x00", pid: dead, original: skip},
		{rule: "byte order mark", sidecar: "\ufeff" + stale, pid: dead, original: skip},
		{rule: "invalid UTF-8", sidecar: "{\"a\": \"\xff\", \"last_seen_unix_ms\": 1}", pid: dead, original: skip},
		{rule: "lone surrogate", sidecar: `{"a": "\ud800", "last_seen_unix_ms": 1}`, pid: dead, original: skip},
		{rule: "pair of surrogates", sidecar: `{"a": "\ud83d\ude00", "last_seen_unix_ms": 1}`, pid: dead, original: remove},
		{rule: "control character in a string", sidecar: "{\"a\": \"\n\", \"last_seen_unix_ms\": 1}", pid: dead, original: skip},
		{rule: "a number beyond a float64", sidecar: `{"a": 1e999, "last_seen_unix_ms": 1}`, pid: dead, original: skip},
		{rule: "leading zero", sidecar: lastSeen("01"), pid: dead, original: skip},
		{rule: "comment", sidecar: stale + "// x", pid: dead, original: skip},
		{rule: "trailing comma", sidecar: `{"last_seen_unix_ms": 1,}`, pid: dead, original: skip},
		{rule: "array", sidecar: `[1]`, pid: dead, original: skip},
		{rule: "number", sidecar: `1`, pid: dead, original: skip},
		{rule: "empty", sidecar: ``, pid: dead, original: skip},
		{rule: "cut off", sidecar: stale[:len(stale)-1], pid: dead, original: skip},
		{rule: "127 levels", sidecar: nested(127), pid: dead, original: remove},
		{rule: "128 levels", sidecar: nested(128), pid: dead, original: skip},
		{rule: "500,000 levels", sidecar: nested(500_000), pid: dead, original: skip},
		{rule: "larger than 1 MiB", sidecar: stale + strings.Repeat(" ", 1<<20), pid: dead, original: remove,
			ours: keep, why: "a sidecar is 1 to 100 KB; the original reads whatever there is into memory"},

		// What is a pid. Alive is refreshed, dead is removed.
		{rule: "no pid file", sidecar: lastSeen("1"), original: remove},
		{rule: "white space around it", sidecar: lastSeen("1"), pid: " \t" + self + "\r\n", original: refresh},
		{rule: "Unicode white space around it", sidecar: lastSeen("1"), pid: "\u00a0" + self + "\u3000", original: refresh},
		{rule: "plus sign", sidecar: lastSeen("1"), pid: "+" + self, original: refresh},
		{rule: "leading zeros", sidecar: lastSeen("1"), pid: "000" + self, original: refresh},
		{rule: "minus sign", sidecar: lastSeen("1"), pid: "-" + self, original: remove},
		{rule: "white space within", sidecar: lastSeen("1"), pid: self[:1] + " " + self[1:], original: remove},
		{rule: "two lines", sidecar: lastSeen("1"), pid: self + "\n" + self, original: remove},
		{rule: "a word", sidecar: lastSeen("1"), pid: "x", original: remove},
		{rule: "only white space", sidecar: lastSeen("1"), pid: " ", original: remove},
		{rule: "zero", sidecar: lastSeen("1"), pid: "0", original: remove},
		{rule: "2^32-1", sidecar: lastSeen("1"), pid: "4294967295", original: remove},
		{rule: "2^32", sidecar: lastSeen("1"), pid: "4294967296", original: remove},
		{rule: "hexadecimal", sidecar: lastSeen("1"), pid: "0x1", original: remove},
		{rule: "trailing NUL in the pid file", sidecar: lastSeen("1"), pid: self + "\x00", original: remove},
		{rule: "invalid UTF-8 in the pid file", sidecar: lastSeen("1"), pid: self + "\xff", original: remove},
		{rule: "longer than 64 bytes", sidecar: lastSeen("1"), pid: self + strings.Repeat(" ", 64), original: refresh,
			ours: remove, why: "the spawner writes at most 10 bytes; what is longer is no pid file of its, and the in-use veto stands behind it"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			want := row.original
			if row.ours != "" {
				want = row.ours
			}
			b := newBench(t, Options{StaleAfter: 5 * time.Second})
			b.now = func() time.Time { return now }
			d := daemondirtest.Make(t, b.root, "daemon", row.sidecar, row.pid)
			before := row.sidecar
			stats, rows := b.sweep()
			if got := rows["daemon"].Decision; got != want {
				t.Fatalf("decided to %s because %s, want %s (the original: %s) %s",
					got, rows["daemon"].Reason, want, row.original, row.why)
			}
			if want == remove && d.Exists() || want != remove && !d.Exists() {
				t.Errorf("decided to %s, and the dir exists: %v", want, d.Exists())
			}
			if want == refresh && !strings.Contains(daemondirtest.ReadFile(t, d.Sidecar()), "20000") {
				t.Errorf("not refreshed: %s", daemondirtest.ReadFile(t, d.Sidecar()))
			}
			if want == keep && daemondirtest.ReadFile(t, d.Sidecar()) != before {
				t.Error("kept, but written to")
			}
			if stats.Checked != 1 {
				t.Errorf("scanned %d dirs", stats.Checked)
			}
		})
	}
}

// What the original does on purpose or by oversight, and we do not. Whose process a pid
// is, zombies and live daemons off by more than 5 s have their tests with liveness, dirs
// in use and mount points with removal. These are the rest.
func TestNoParity(t *testing.T) {
	b := newBench(t, Options{StaleAfter: 5 * time.Second})
	// The original follows a symlink in the root and removes what it leads to.
	elsewhere := daemondirtest.MakeDead(t, t.TempDir(), "link", time.Hour)
	if err := daemondirtest.Symlink(elsewhere.Path(), b.root+"/link"); err != nil {
		t.Skipf("no symlinks: %v", err)
	}
	// It reads a sidecar, and rewrites it, through a symlink.
	d := daemondirtest.Make(t, b.root, "indirect", "", strconv.Itoa(os.Getpid()))
	target := daemondirtest.Make(t, t.TempDir(), "target", `{"last_seen_unix_ms": 1}`, "")
	if err := os.Remove(d.Sidecar()); err != nil {
		t.Fatal(err)
	}
	if err := daemondirtest.Symlink(target.Sidecar(), d.Sidecar()); err != nil {
		t.Fatal(err)
	}
	stats, rows := b.sweep()
	if !elsewhere.Exists() || daemondirtest.ReadFile(t, target.Sidecar()) != `{"last_seen_unix_ms": 1}` {
		t.Error("a symlink was followed")
	}
	if stats.Checked != 1 || rows["indirect"].Reason != "sidecar_not_regular" {
		t.Errorf("%+v, %+v", stats, rows)
	}
}

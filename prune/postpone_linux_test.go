package prune

import (
	"path/filepath"
	"testing"
	"time"

	"runtimegc/registry/daemondir/daemondirtest"
)

// Of a dir that is not due nothing is opened.
func TestNoSurveyOfWhatIsNotDue(t *testing.T) {
	b := newBench(t, Options{})
	daemondirtest.MakeDead(t, b.root, "a", time.Minute)
	b.sweep()
	x, _ := b.Explain("a")
	if got := answers(x); got[CheckContents] != "skipped" {
		t.Errorf("explained as %v", got)
	}
}

// While a file's modification time keeps a dir, sweeps do not survey it again: it may be a
// large tree. They do when the time has passed, or the dir has changed.
func TestNoSurveyBeforeItCanEndOtherwise(t *testing.T) {
	for rule, change := range map[string]func(b *bench, d daemondirtest.Dir) (removed bool){
		"nothing changes": func(*bench, daemondirtest.Dir) bool { return false },
		"the time passes": func(b *bench, _ daemondirtest.Dir) bool {
			b.now = func() time.Time { return time.Now().Add(51 * time.Minute) }
			return true
		},
		"the sidecar is written": func(b *bench, d daemondirtest.Dir) bool {
			ms := time.Now().Add(-3 * time.Hour).UnixMilli()
			daemondirtest.WriteFile(b.t, d.Sidecar(), sidecarText(ms, ms))
			b.scan()
			return true
		},
	} {
		t.Run(rule, func(t *testing.T) {
			b := newBench(t, Options{})
			d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
			log := filepath.Join(d.Path(), "log")
			daemondirtest.WriteFile(t, log, "text")
			daemondirtest.MakeOld(t, log, 10*time.Minute)
			b.wantKept(d, RecentlyWritten)
			daemondirtest.MakeOld(t, log, 2*time.Hour) // only a survey would see that
			want := change(b, d)
			if b.pass(t.Context(), nil); d.Exists() == want {
				t.Errorf("there: %v", d.Exists())
			}
		})
	}
}

// With another stale-after, the time of the file may be long past.
func TestSurveyWhenTheTimesAreSet(t *testing.T) {
	b := running(t, Options{SweepInterval: 20 * time.Millisecond})
	d := daemondirtest.MakeDead(t, b.root, "a", 2*time.Hour)
	log := filepath.Join(d.Path(), "log")
	daemondirtest.WriteFile(t, log, "text")
	daemondirtest.MakeOld(t, log, 10*time.Minute)
	b.scan()
	b.wantEvents("daemon.kept", 1)
	if err := b.SetTimes(Settings{StaleAfter: 5 * time.Minute, SweepInterval: 20 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	b.wantEvents("daemon.removed", 1)
}

// A daemon that was respawned during the survey is refreshed by the next sweep all the same.
func TestLiveDaemonIsNotPostponed(t *testing.T) {
	b := newBench(t, Options{})
	d, _ := daemondirtest.MakeLive(t, b.root, "a")
	b.scan()
	b.pass(t.Context(), nil)
	ms := time.Now().Add(-time.Minute).UnixMilli()
	daemondirtest.WriteFile(t, d.Sidecar(), sidecarText(int64(entryOf(t, d).SpawnedAt.MS), ms))
	b.scan()
	b.observeChanges()
	b.postpone("a", time.Now().Add(time.Hour))
	if stats := b.pass(t.Context(), nil); stats.Refreshed != 1 {
		t.Errorf("%+v", stats)
	}
}

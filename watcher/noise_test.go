package watcher

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"

	"runtimegc/registry"
)

// Events about what is nothing to us are taken in now and then, if they come all the time;
// all else, and what is queued, at once.
func TestNoise(t *testing.T) {
	dir := filepath.FromSlash("/data/runtime")
	event := func(op fsnotify.Op, path string) fsnotify.Event {
		return fsnotify.Event{Name: filepath.Join(dir, filepath.FromSlash(path)), Op: op}
	}
	log, above := event(fsnotify.Write, "a/out.log"), event(fsnotify.Write, "../manager.log")
	for _, row := range []struct {
		name   string
		events []fsnotify.Event
		every  time.Duration
		rests  bool
	}{
		{"a log, a line a millisecond", []fsnotify.Event{log}, time.Millisecond, true},
		{"beside the root", []fsnotify.Event{above}, time.Millisecond, true},
		{"many logs", []fsnotify.Event{log, event(fsnotify.Write, "b/out.log"), above}, time.Millisecond, true},
		{"files come and go in a daemon dir", []fsnotify.Event{event(fsnotify.Create, "a/tmp1"), event(fsnotify.Remove, "a/tmp1")}, time.Millisecond, true},
		{"files come and go beside the root", []fsnotify.Event{event(fsnotify.Create, "../tmp1"), event(fsnotify.Rename, "../tmp1")}, time.Millisecond, true},
		{"a line now and then", []fsnotify.Event{log}, noiseGap, false},
		{"queued", []fsnotify.Event{log, above}, 0, false},
		{"as fast as a queue is read", []fsnotify.Event{log, above}, noiseWait / 2, false},
		{"sidecars", []fsnotify.Event{event(fsnotify.Write, "a/a.daemon.json")}, time.Millisecond, false},
		{"pid files", []fsnotify.Event{event(fsnotify.Write, "a/daemon.pid")}, time.Millisecond, false},
		{"spawns", []fsnotify.Event{event(fsnotify.Create, "a"), event(fsnotify.Create, "a/a"), event(fsnotify.Chmod, "a/a"), event(fsnotify.Chmod, "../image"), event(fsnotify.Remove, "a/a"), event(fsnotify.Write, "a/a.exe")}, time.Millisecond, false},
		{"the root", []fsnotify.Event{event(fsnotify.Write, "")}, time.Millisecond, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 1000
				fsn := &fsnotify.Watcher{Events: make(chan fsnotify.Event), Errors: make(chan error)}
				wait := newPending(registry.New("/data"), dir, []string{dir}).drain(fsn)
				began := time.Now()
				for i := range n {
					fsn.Events <- row.events[i%len(row.events)]
					time.Sleep(row.every)
				}
				rested := time.Since(began) - n*row.every
				close(fsn.Events)
				close(fsn.Errors)
				wait()
				// Of two events one is taken in right after a rest.
				if want := n / 2 * noisePause; row.rests && (rested < want*8/10 || rested > want) || !row.rests && rested > 0 {
					t.Errorf("it rested for %v", rested)
				}
			})
		})
	}
}

// Two files written by turns fill the queue while the drain sleeps: it soon sleeps hardly ever.
// When that is over, it sleeps again.
func TestNoSleepThatFillsTheQueue(t *testing.T) {
	var r rest
	now := time.Now()
	slept := func(queued int, during time.Duration) (share float64) {
		var sum time.Duration
		for began := now; now.Sub(began) < during; {
			waiting := now
			now = now.Add(time.Millisecond)
			pause := r.after(true, waiting, now)
			now, sum = now.Add(pause), sum+pause
			if pause > 0 {
				for range queued {
					r.after(true, now, now)
				}
			}
		}
		return float64(sum) / float64(during)
	}
	if share := slept(1, time.Second); share < 0.8 {
		t.Errorf("one file: it sleeps for %.3f of the time", share)
	}
	if share := slept(noiseQueued, 2*time.Minute); share > 0.002 {
		t.Errorf("two files by turns: it sleeps for %.3f of the time", share)
	}
	now = now.Add(noiseLimit)
	if pause := r.after(true, now.Add(-time.Millisecond), now); pause > 0 {
		t.Errorf("the first noise after that: it sleeps for %v", pause)
	}
	now = now.Add(time.Millisecond)
	if pause := r.after(true, now.Add(-time.Millisecond), now); pause != noiseTry {
		t.Errorf("it tries with a sleep of %v", pause)
	}
	slept(1, noiseLimit+time.Second)
	if share := slept(1, time.Second); share < 0.8 {
		t.Errorf("one file again: it sleeps for %.3f of the time", share)
	}
}

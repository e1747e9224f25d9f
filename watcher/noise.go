package watcher

import (
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"runtimegc/registry/daemondir"
)

// A daemon that writes a log into its own dir raises an event per line. fsnotify cannot be asked
// to leave these out, and each costs 50 to 100 us of processor time. So a dir with
// noisyEvents of them within noiseSpan is watched in another way: by its sidecar and its pid
// file, until one of these changes.
const (
	noisyEvents = 8
	noiseSpan   = time.Second
)

// watchesFiles says whether fsnotify can watch a file without the dir that holds it. With
// kqueue(2) it watches each file of a dir in any case, on Windows the dir for each file.
const watchesFiles = runtime.GOOS == "linux"

// A noiseCount counts the noise in each dir. It is for one goroutine.
type noiseCount struct {
	since  time.Time
	events map[string]int
}

// add counts an event in the dir name, and reports whether that makes it noisy.
func (n *noiseCount) add(name string, at time.Time) bool {
	if !watchesFiles {
		return false
	}
	if at.Sub(n.since) >= noiseSpan {
		n.since, n.events = at, make(map[string]int)
	}
	n.events[name]++
	return n.events[name] == noisyEvents
}

// quiet watches the noisy dirs by their files.
func (s *session) quiet() {
	for _, change := range s.pending.noisy.Take() {
		name := change.Name
		known, ok := s.opts.Registry.Get(name)
		// All that a read looks at must be there: the file that makes a dir protected may be made
		// unnoticed, but a removal looks for it once more.
		if !ok || known.Problem != daemondir.ProblemNone || known.PIDFile == (daemondir.Stamp{}) || known.Protected ||
			s.watches.byFiles.has(name) || s.watches.rootPolled() || !s.watches.addFiles(s.dir, name) {
			continue
		}
		// These are the files that are watched now. What happens to them from here on is an event.
		if e, err := daemondir.Read(s.dir, name); err != nil || e != known {
			s.watches.dropFiles(s.dir, name) // an event will tell
			continue
		}
		s.watches.dropDir(s.dir, name)
	}
}

// filesOf returns the paths of the files by which the dir name is watched.
func filesOf(root, name string) []string {
	dir := filepath.Join(root, name)
	return []string{filepath.Join(dir, daemondir.SidecarName(name)), filepath.Join(dir, daemondir.PIDFileName)}
}

// addFiles watches the files of the dir name. It returns false if that cannot be. A file that
// has two names has one watch, and its events come under the first.
func (w *watches) addFiles(root, name string) bool {
	w.byFiles.add(name)
	files := filesOf(root, name)
	ok := !slices.ContainsFunc(files, func(path string) bool { return w.fsn.Add(path) != nil })
	if ok {
		list := w.fsn.WatchList()
		ok = !slices.ContainsFunc(files, func(path string) bool { return !slices.Contains(list, path) })
	}
	if !ok {
		w.dropFiles(root, name)
	}
	return ok
}

// dropFiles removes the watches of the files of the dir name, if there are any.
func (w *watches) dropFiles(root, name string) {
	if !w.byFiles.take(name) {
		return
	}
	for _, path := range filesOf(root, name) {
		_ = w.fsn.Remove(path) // or the file is gone, and with it the watch
	}
}

// Noise in other places, such as beside the root, cannot be avoided. So after repeated
// noise the drain sleeps for noisePause, and the kernel merges the writes to one file in that
// time into one event (inotify(7)). Repeated is what comes within noiseGap: a
// sleep that saves fewer than two events costs more than they do. It sleeps only if it had to
// wait at least noiseWait for the event: events that are already queued arrive within
// microseconds, and must be read at once, or the kernel's queue overflows.
//
// The kernel merges an event only with the one before it, so writes to two files by turns
// fill the queue. When so many events have come in a pause that it would be noiseQueued in
// noisePause, the drain does not sleep for noiseAwake, and twice as long each time that this
// happens again. It begins with short pauses, which fill little of the queue.
const (
	noisePause  = 10 * time.Millisecond
	noiseGap    = noisePause / 2
	noiseWait   = 20 * time.Microsecond
	noiseTry    = noisePause / 10 // the first pause; they double
	noiseQueued = 256             // of the 16,384 that Linux keeps by default
	noiseAwake  = time.Second
	noiseLimit  = time.Minute // of noiseAwake
)

// A rest decides when the drain sleeps. It is for one goroutine.
type rest struct {
	noisy  time.Time     // when the last noise came, or the sleep after it ended
	pause  time.Duration // the last sleep
	queued int           // events since the last sleep that were queued when the drain came
	until  time.Time     // no sleep before then
	awake  time.Duration // how long that was
}

// after returns how long to sleep after an event that came at that time, when the drain had
// been waiting since then.
func (r *rest) after(noise bool, waiting, came time.Time) (sleep time.Duration) {
	repeated := came.Sub(r.noisy) < noiseGap
	if noise {
		r.noisy = came
	}
	if came.Sub(waiting) < noiseWait {
		if r.queued++; r.queued == r.most() {
			r.awake = min(max(2*r.awake, noiseAwake), noiseLimit)
			r.until = came.Add(r.awake)
		}
		return 0
	}
	if !noise || !repeated || came.Before(r.until) {
		return 0
	}
	if r.queued < r.most() {
		r.awake /= 2
		r.pause = min(max(2*r.pause, noiseTry), noisePause)
	} else {
		r.pause = noiseTry
	}
	r.queued = 0
	r.noisy = came.Add(r.pause)
	return r.pause
}

// most is how many events may come in the last sleep, or else they fill the queue.
func (r *rest) most() int { return int(noiseQueued * max(r.pause, noiseTry) / noisePause) }

package watcher

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"runtimegc/registry/daemondir/daemondirtest"
)

// To end a watch beside an event closes no handle twice: it might be another one by then.
func TestNoHandleIsClosedTwice(t *testing.T) {
	root := newRoot(t)
	fsn, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	var failed []error
	read := make(chan struct{})
	go func() {
		defer close(read)
		for events, errs := fsn.Events, fsn.Errors; events != nil || errs != nil; {
			select {
			case _, ok := <-events:
				if !ok {
					events = nil
				}
			case err, ok := <-errs:
				if !ok {
					errs = nil
				} else {
					failed = append(failed, err)
				}
			}
		}
	}()
	w := newWatches(fsn, nil)
	for n := range 100 {
		name := fmt.Sprint("d", n)
		mkdir(t, filepath.Join(root, name))
		w.add(root, name)
		for i := range 5 {
			daemondirtest.WriteFile(t, filepath.Join(root, name, fmt.Sprint(i)), "")
		}
		w.drop(root, name)
	}
	fsn.Close()
	<-read
	for _, err := range failed {
		t.Error(err)
	}
}

// A dir that has been moved out of the root and in again under another name is watched under the
// old one as long as the session lasts: another one must begin.
func TestMovedInUnderAnotherName(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	w := start(t, setup{Root: root})
	w.waitPID("a", 1)
	current := func() *session {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.session
	}
	first, outside := current(), filepath.Join(t.TempDir(), "outside")
	rename(t, filepath.Join(root, "a"), outside)
	daemondirtest.Eventually(t, "it is gone", func() bool { return w.registry.Len() == 0 })
	rename(t, outside, filepath.Join(root, "b"))
	daemondirtest.Eventually(t, "another session", func() bool { return current() != first })
	w.waitPID("b", 1)
	w.checkWatched()
}

// A dir that could not be read while its root was away for a moment is there again, and no event
// tells of that.
func TestBackBeforeItIsGone(t *testing.T) {
	root := newRoot(t)
	spawn(t, root, "a", 1)
	s := prepare(t, setup{Root: root}).newSession()
	defer s.end()
	s.last = inspectRoot(root)
	s.scan(t.Context())
	s.gone("a")
	if _, ok := s.opts.Registry.Get("a"); !ok {
		t.Error("it is taken for gone")
	}
	if again, ok := s.polls.next(); !ok || time.Until(again) > maxBusyWait {
		t.Errorf("it is read again at %v, %v", again, ok)
	}
}

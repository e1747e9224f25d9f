package watcher

import (
	"fmt"
	"path/filepath"
	"testing"

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

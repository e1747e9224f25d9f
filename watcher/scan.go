package watcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
)

// scanBatch is how many dirs a scan reads before it looks for hints, so that a birth
// during a long scan is not held up by it. 64 dirs take 2 to 5 ms.
const scanBatch = 64

// listDirs returns the names of the directories directly in root; symlinks are none.
func listDirs(root string) ([]string, error) {
	f, err := os.Open(root)
	if err != nil {
		return nil, fmt.Errorf("listing root: %w", err)
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("listing root: %w", err)
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		if entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// scan reads every dir of the root, and every name the registry has beside them.
func (s *session) scan(ctx context.Context) {
	names, err := listDirs(s.dir)
	if err != nil {
		// A root that has just gone is an event, or found by the next look. All else, as a
		// lack of descriptors, is tried again by polling.
		if !errors.Is(err, fs.ErrNotExist) {
			s.watches.postponeScan(err)
		}
		return
	}
	onDisk := make(map[string]struct{}, len(names))
	for _, name := range names {
		onDisk[name] = struct{}{}
	}
	for _, name := range s.opts.Registry.Names() {
		if _, ok := onDisk[name]; !ok {
			names = append(names, name)
		}
	}
	batches := slices.Collect(slices.Chunk(names, scanBatch))
	watch := func(i int) {
		if i < len(batches) {
			for _, name := range batches[i] {
				s.watch(name)
			}
		}
	}
	watch(0)
	for i, batch := range batches {
		if ctx.Err() != nil {
			return
		}
		s.work(ctx)
		readEach(s.dir, batch, func() { watch(i + 1) }, s.take)
	}
	s.rewatch()
	s.watches.scanned()
	if !s.scanned {
		s.scanned = true
		s.reportResync()
		s.reg.SetSynced()
	}
}

// readEach reads the daemon dirs of those names, by as many goroutines as there are
// processors: reading is what a scan takes its time for. It calls meanwhile while they
// read, then take with each as it comes.
func readEach(root string, names []string, meanwhile func(), take func(name string, e daemondir.Entry, err error)) {
	type outcome struct {
		name string
		e    daemondir.Entry
		err  error
	}
	outcomes := make(chan outcome, len(names))
	var next atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		go func() { // until all names are read, and so all outcomes received
			for i := next.Add(1) - 1; int(i) < len(names); i = next.Add(1) - 1 {
				e, err := daemondir.Read(root, names[i])
				outcomes <- outcome{names[i], e, err}
			}
		}()
	}
	meanwhile()
	for range names {
		o := <-outcomes
		take(o.name, o.e, o.err)
	}
}

// Scan fills reg from its root once, without watching: for a single pass. It returns when
// ctx is done, or an error when the root cannot be served, or when somebody else writes
// reg; a root that does not exist is an empty one and no error.
func Scan(ctx context.Context, reg *registry.Registry) error {
	if err := reg.Check(); err != nil {
		return fmt.Errorf("watcher: %w", err)
	}
	w, err := reg.Write()
	if err != nil {
		return err
	}
	defer w.Close()
	root := reg.Root()
	if state := lookAt(root); !state.found() {
		return state.err
	}
	names, err := listDirs(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for len(names) > 0 && ctx.Err() == nil {
		var failed error
		var busy []string
		batch := names[:min(scanBatch, len(names))]
		readEach(root, batch, func() {}, func(name string, e daemondir.Entry, err error) {
			switch {
			case err == nil:
				w.Put(e, time.Time{})
			case errors.Is(err, daemondir.ErrBusy):
				busy = append(busy, name)
			case !errors.Is(err, fs.ErrNotExist):
				failed = err
			}
		})
		if failed != nil {
			return failed
		}
		names = append(names[len(batch):], busy...)
		if len(busy) > 0 {
			time.Sleep(busyRetry)
		}
	}
	return ctx.Err()
}

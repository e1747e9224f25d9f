package watcher

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"runtimegc/registry"
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
	for batch := range slices.Chunk(names, scanBatch) {
		if ctx.Err() != nil {
			return
		}
		s.work(ctx)
		s.readBatch(batch)
	}
	s.watches.scanned()
	if !s.scanned {
		s.scanned = true
		s.reportResync()
		if s.opts.Scanned != nil {
			s.opts.Scanned()
		}
	}
}

// readBatch is read for each of the names, by as many goroutines as there are processors:
// reading is what a scan takes its time for.
func (s *session) readBatch(names []string) {
	type outcome struct {
		e   registry.Entry
		err error
	}
	outcomes := make([]outcome, len(names))
	for _, name := range names {
		s.watch(name)
	}
	eachOf(len(names), func(i int) {
		outcomes[i].e, outcomes[i].err = registry.Read(s.dir, names[i])
	})
	for i, name := range names {
		s.take(name, outcomes[i].e, outcomes[i].err)
	}
}

// eachOf calls do with each of 0 to n-1, on all processors, and returns when all are
// done.
func eachOf(n int, do func(i int)) {
	var next atomic.Int64
	var readers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		readers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	readers.Wait()
}

// Scan fills reg from root once, without watching: for a single pass. It returns when
// ctx is done, or an error when root cannot be served; one that does not exist is an
// empty one and no error.
func Scan(ctx context.Context, root string, reg *registry.Registry) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return fmt.Errorf("resolving root: %w", err)
	}
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
		name := names[0]
		names = names[1:]
		switch e, err := registry.Read(root, name); {
		case err == nil:
			reg.Put(e)
		case errors.Is(err, registry.ErrBusy):
			time.Sleep(busyRetry)
			names = append(names, name)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return ctx.Err()
}

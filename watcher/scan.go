package watcher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"runtimegc/registry"
	"runtimegc/registry/daemondir"
)

// scanBatch is how many dirs a scan reads before it handles pending events, so that a long
// scan does not delay the notice of a birth. 64 dirs take 2 to 5 ms.
const scanBatch = 64

// listBatch is how many names are listed at a time: an [fs.DirEntry] takes 100 bytes of memory,
// of which only the name is kept.
const listBatch = 1024

// busyPatience is how long [ReadDirs] waits in all for dirs that are busy. Elsewhere than on
// Windows a dir is busy while a sidecar is being written; there it is as long as another process
// has it open and does not share it.
const busyPatience = 2 * time.Second

// waitBusy waits a moment before busy dirs are read again. It returns false if that has gone on
// for too long since began.
func waitBusy(began time.Time) bool {
	if runtime.GOOS == "windows" && time.Since(began) > busyPatience {
		return false
	}
	time.Sleep(minBusyWait)
	return true
}

// errReplaced says that a root is not the directory that it was.
var errReplaced = errors.New("the root was replaced, or something is mounted over it")

// listDirs returns the names of the directories directly in root, without symlinks. The
// error is errReplaced if root is not the directory want; nil: it may be any.
func listDirs(root string, want fs.FileInfo) ([]string, error) {
	f, err := daemondir.OpenList(root)
	if err != nil {
		return nil, fmt.Errorf("listing root: %w", err)
	}
	defer f.Close()
	if want != nil {
		if info, err := f.Stat(); err != nil || !os.SameFile(info, want) {
			return nil, fmt.Errorf("listing root: %w", cmp.Or(err, errReplaced))
		}
	}
	var names []string
	for {
		entries, err := f.ReadDir(listBatch)
		for _, entry := range entries {
			if entry.IsDir() {
				names = append(names, entry.Name())
			}
		}
		switch {
		case err == io.EOF:
			return names, nil
		case err != nil:
			return nil, fmt.Errorf("listing root: %w", err)
		}
	}
}

// scan reads every dir in the root, and every other name that the registry has.
func (s *session) scan(ctx context.Context) {
	names, err := listDirs(s.dir, s.last.info)
	switch {
	case errors.Is(err, errReplaced):
		s.pending.setRearm()
		return
	case errors.Is(err, fs.ErrNotExist):
		return // it has just disappeared; an event or the next check reports it
	case err != nil: // such as a lack of descriptors: polling tries again
		s.watches.listed = err
		return
	}
	listed := names
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
		s.readPending(ctx)
		readEach(s.dir, batch, func() { watch(i + 1) }, s.take)
	}
	s.readMissed(listed)
	s.rewatch()
	s.watches.listed = nil
	if !s.scanned {
		s.scanned = true
		s.reportResync()
		if !s.synced {
			s.synced = true
			s.reg.SetSynced()
		}
	}
}

// readMissed has the dirs read again that a scan has listed, but has not found or could not
// watch. They are gone, or something was mounted over the root for a moment, which raises no
// event. If it still is, a new session must begin.
func (s *session) readMissed(listed []string) {
	for _, name := range listed {
		_, known := s.opts.Registry.Get(name)
		_, polled := s.watches.polled[name]
		if !known || s.watches.canAdd(name) && !polled && !daemondir.Quarantined(name) {
			s.pending.names.Add(name, time.Time{})
		}
	}
	if s.replaced(s.last) {
		s.pending.setRearm()
	}
}

// A reading is what became of reading one daemon dir.
type reading struct {
	name  string
	entry daemondir.Entry
	err   error
}

func read(root, name string) reading {
	e, err := daemondir.Read(root, name)
	return reading{name, e, err}
}

// readEach reads the named daemon dirs with one goroutine per processor, because reading
// takes most of the time of a scan. It calls meanwhile while they read, and then take with
// each result.
func readEach(root string, names []string, meanwhile func(), take func(name string, e daemondir.Entry, err error)) {
	readings := make(chan reading, len(names))
	var next atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		go func() { // ends when all names have been read
			for i := next.Add(1) - 1; int(i) < len(names); i = next.Add(1) - 1 {
				readings <- read(root, names[i])
			}
		}()
	}
	meanwhile()
	for range names {
		r := <-readings
		take(r.name, r.entry, r.err)
	}
}

// Scan fills reg from its root once, without watching it, for a single pass. It is [Dirs] and
// [ReadDirs], and has their errors; another is [registry.ErrWritten] if reg has another writer.
func Scan(ctx context.Context, reg *registry.Registry) error {
	if err := reg.Check(); err != nil {
		return fmt.Errorf("watcher: %w", err)
	}
	w, err := reg.Write()
	if err != nil {
		return err
	}
	defer w.Close()
	names, err := Dirs(reg.Root())
	if err != nil {
		return err
	}
	return ReadDirs(ctx, reg.Root(), names, func(e daemondir.Entry) error {
		w.Put(e, time.Time{})
		return nil
	})
}

// Dirs returns the names of the directories directly in root, in order and without symlinks.
// A root that does not exist has none. The error says why it cannot be served.
func Dirs(root string) ([]string, error) {
	if state := inspectRoot(root); !state.found() {
		return nil, state.err
	}
	names, err := listDirs(root, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	slices.Sort(names)
	return names, err
}

// ReadDirs reads the named daemon dirs in root, and calls visit with each, in that order, while
// it goes on reading a few ahead. A dir that is gone by then is left out, and on Windows one
// that another process does not share. The error is the first of reading or of visit, or that
// of ctx if it ends first.
func ReadDirs(ctx context.Context, root string, names []string, visit func(daemondir.Entry) error) error {
	ahead, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	// In order; each batch is read by a goroutine of its own, which sends it when it is whole.
	batches := make(chan chan []reading, runtime.GOMAXPROCS(0))
	running.Go(func() {
		defer close(batches)
		for names := range slices.Chunk(names, scanBatch) {
			batch := make(chan []reading, 1)
			select {
			case batches <- batch:
			case <-ahead.Done():
				return
			}
			running.Go(func() {
				readings := make([]reading, 0, len(names))
				for _, name := range names {
					readings = append(readings, read(root, name))
				}
				batch <- readings
			})
		}
	})
	var waited time.Duration
	for batch := range batches {
		if ctx.Err() != nil {
			break
		}
		for _, r := range <-batch {
			for began := time.Now().Add(-waited); errors.Is(r.err, daemondir.ErrBusy) && ctx.Err() == nil && waitBusy(began); {
				r = read(root, r.name)
				waited = time.Since(began)
			}
			switch {
			case r.err == nil:
				if err := visit(r.entry); err != nil {
					return err
				}
			case !errors.Is(r.err, daemondir.ErrBusy) && !errors.Is(r.err, fs.ErrNotExist):
				return r.err
			}
		}
	}
	return ctx.Err()
}

// ScanDir is [Scan] for the one daemon dir name. The error is fs.ErrNotExist if there is no
// such directory, or says why it cannot be read.
func ScanDir(ctx context.Context, reg *registry.Registry, name string) error {
	// A name must not lead out of the root, or deeper into it.
	if name == "." || name == ".." || name != filepath.Base(name) || !filepath.IsLocal(name) {
		return fmt.Errorf("%q in root: %w", name, fs.ErrNotExist)
	}
	w, err := reg.Write()
	if err != nil {
		return err
	}
	defer w.Close()
	began := time.Now()
	for ctx.Err() == nil {
		e, err := daemondir.Read(reg.Root(), name)
		if errors.Is(err, daemondir.ErrBusy) && waitBusy(began) {
			continue
		}
		if err == nil {
			w.Put(e, time.Time{})
		}
		return err
	}
	return ctx.Err()
}

package prune

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir"
)

// lockDir makes this process the only collector of root. It takes a flock(2) on the root
// directory itself, so that no file is left behind, and the kernel releases it however this
// process ends. The error says who holds it, if the system tells.
func lockDir(root string) (*os.File, error) {
	dir, err := os.Open(root)
	if err != nil {
		return nil, fmt.Errorf("locking root: %w", err)
	}
	err = fsys.Flock(int(dir.Fd()))
	switch {
	case err == nil:
		return dir, nil
	case errors.Is(err, fsys.ErrLocked):
		err = fmt.Errorf("root %q is served by another collector: %s", daemondir.Printable(root), fsys.Holder(dir))
	default:
		err = fmt.Errorf("locking root %q: %w", daemondir.Printable(root), err)
	}
	dir.Close()
	return nil, err
}

// A rootLock is the collector's lock on its root. Nothing is refreshed or removed without
// it. A release takes effect when the work that is under way has ended.
type rootLock struct {
	mu         sync.Mutex // guards all below
	free       sync.Cond  // signals that dir has become nil
	dir        *os.File   // nil: not held
	users      int        // calls of use that are not done
	released   bool       // the last user closes dir
	generation int        // how often it was taken, perhaps on different directories
}

func (l *rootLock) init() { l.free.L = &l.mu }

// take takes the lock. If we have released it, but work is still under way, it waits for the
// end of that.
func (l *rootLock) take(root string) (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.dir != nil && l.released {
		l.free.Wait()
	}
	if l.dir != nil {
		return nil, fmt.Errorf("locking root %q: it is locked by this collector", daemondir.Printable(root))
	}
	if l.dir, err = lockDir(root); err != nil {
		return nil, err
	}
	l.released = false
	l.generation++
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.released = true
		l.closeUnused()
	}), nil
}

// use keeps the lock until done is called. It returns false if the lock is not held.
func (l *rootLock) use() (done func(), generation int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dir == nil || l.released {
		return nil, 0, false
	}
	l.users++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.users--
		l.closeUnused()
	}, l.generation, true
}

// closeUnused closes a lock that was released and has no users. The caller holds mu.
func (l *rootLock) closeUnused() {
	if l.released && l.users == 0 {
		l.dir.Close()
		l.dir = nil
		l.free.Broadcast()
	}
}

// Lock makes this collector the only one of its root, on this host, until release is called.
// Run and Sweep take the lock themselves; call Lock to take those of several roots before
// you begin with one. The error says who holds the lock, or is fs.ErrNotExist if there is no
// root. A dry run changes nothing and needs no lock.
func (c *Collector) Lock() (release func(), err error) {
	if c.dryRun {
		return func() {}, nil
	}
	return c.lock.take(c.root)
}

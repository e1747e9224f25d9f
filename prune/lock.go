package prune

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir"
)

// lockDir makes this process the only collector of root: it takes a flock(2) on the root
// directory itself, so no file is left behind and the kernel gives it back whatever
// becomes of us. The error says who holds it, where the system tells.
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

// A rootLock is the lock on the root as the collector holds it. Nothing is refreshed or
// removed without it, and it outlives its release until what is in hand is done.
type rootLock struct {
	mu    sync.Mutex // guards all below
	free  sync.Cond  // the lock that was released is no longer used
	dir   *os.File   // nil: not held
	users int        // who have something in hand under it
	over  bool       // it was released; the last user closes it
	turn  int        // how often it was taken: another turn may be on another directory
}

func (l *rootLock) init() { l.free.L = &l.mu }

// take takes the lock. One that was released while something was in hand is waited for:
// it is ours.
func (l *rootLock) take(root string) (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.dir != nil && l.over {
		l.free.Wait()
	}
	if l.dir != nil {
		return nil, fmt.Errorf("locking root %q: it is locked by this collector", daemondir.Printable(root))
	}
	if l.dir, err = lockDir(root); err != nil {
		return nil, err
	}
	l.over = false
	l.turn++
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.over = true
		l.closeUnused()
	}), nil
}

// use keeps the lock until done is called, and says which turn of it that is. It reports
// false if it is not held.
func (l *rootLock) use() (done func(), turn int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dir == nil || l.over {
		return nil, 0, false
	}
	l.users++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.users--
		l.closeUnused()
	}, l.turn, true
}

// closeUnused gives the lock back if it was released and nobody uses it; the caller holds
// mu.
func (l *rootLock) closeUnused() {
	if l.over && l.users == 0 {
		l.dir.Close()
		l.dir = nil
		l.free.Broadcast()
	}
}

// Lock makes this collector the only one of its root, on this host, until release is
// called. Run and Sweep take it themselves; it is for those who must know that they have
// the locks of several roots before they begin. The error says who holds it; it is
// fs.ErrNotExist if there is no root. A dry run changes nothing and needs no lock.
func (c *Collector) Lock() (release func(), err error) {
	if c.dryRun {
		return func() {}, nil
	}
	return c.lock.take(c.root)
}

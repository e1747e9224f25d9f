package prune

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"runtimegc/prune/internal/fsys"
	"runtimegc/registry/daemondir"
)

// A Role is what a collector does in its root; see [Collector.Run].
type Role string

const (
	// RoleCollector has the lock on the root: it refreshes, removes, and deals with what an
	// interrupted removal left.
	RoleCollector Role = "collector"

	// RoleFollower does not have the lock, because another collector has it that cannot see
	// our processes: it is on another host or in another pid namespace. A follower refreshes
	// the sidecars of the daemons that it sees, so that the other keeps them, records their
	// exits, and removes nothing.
	RoleFollower Role = "follower"
)

// A rootLock is the collector's role in its root. Nothing is refreshed without a role, and
// nothing is removed without the lock. A release takes effect when the work that is under
// way has ended.
type rootLock struct {
	mu         sync.Mutex     // guards all below, but for reading following
	lock       *fsys.RootLock // nil: no role
	following  atomic.Bool    // lock is open, but somebody else has it
	users      int            // calls of use that are not done
	released   bool           // the last user closes lock
	generation int            // how often the role has changed, perhaps on different directories
}

// take takes the lock, or becomes a follower if it may and somebody elsewhere has the lock. It
// is an error if this collector has it, or has released it while work was under way that has
// not ended. The file system may take its time to answer: mu is not locked meanwhile.
func (l *rootLock) take(root string, mayFollow bool) (role Role, release func(), err error) {
	if l.taken() {
		return "", nil, lockedByUs(root)
	}
	lock, err := fsys.OpenLock(root)
	if err != nil {
		return "", nil, fmt.Errorf("locking root: %w", err)
	}
	role, err = RoleCollector, lock.Take()
	var held *fsys.HeldError
	switch isHeld := errors.As(err, &held); {
	case isHeld && held.Elsewhere && mayFollow:
		role = RoleFollower
	case isHeld:
		err = fmt.Errorf("root %q is served by another collector: %w", daemondir.Printable(root), err)
	case err != nil:
		err = fmt.Errorf("locking root %q: %w", daemondir.Printable(root), err)
	}
	if err != nil && role != RoleFollower {
		lock.Close()
		return "", nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lock != nil { // since we looked
		lock.Close()
		return "", nil, lockedByUs(root)
	}
	l.lock, l.released = lock, false
	l.following.Store(role == RoleFollower)
	l.generation++
	return role, sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.released = true
		l.closeUnused()
	}), nil
}

func (l *rootLock) taken() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lock != nil
}

func lockedByUs(root string) error {
	return fmt.Errorf("locking root %q: it is locked by this collector", daemondir.Printable(root))
}

// takeOver has a follower take the lock of the root that it follows in, and reports whether
// it has become the collector. While somebody has the lock, or that cannot be told, it has not.
func (l *rootLock) takeOver() bool {
	done, _, ok := l.use(false)
	if !ok {
		return false
	}
	defer done()
	// In use, it is not closed. Its file system may take its time to answer.
	if !l.following.Load() || l.lock.Take() != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.released {
		return false
	}
	l.following.Store(false)
	l.generation++
	return true
}

// use keeps the role until done is called. It returns false if there is none or, for a
// removal, if it is not that of the collector.
func (l *rootLock) use(removal bool) (done func(), generation int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lock == nil || l.released || removal && l.following.Load() {
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
	if l.released && l.users == 0 && l.lock != nil {
		l.lock.Close()
		l.lock = nil
		l.following.Store(false)
	}
}

// Lock makes this collector the only one of its root until release is called. Run and Sweep
// take the lock themselves; call Lock to take those of several roots before you begin with
// one. The error says who holds the lock, or is fs.ErrNotExist if there is no root. A dry run
// changes nothing and needs no lock.
func (c *Collector) Lock() (release func(), err error) {
	if c.dryRun {
		return func() {}, nil
	}
	_, release, err = c.lock.take(c.root, false)
	return release, err
}

// A Holding is what is known of the lock of a root.
type Holding struct {
	By    string // who holds it, in words; empty: nobody, or it is not known
	Known bool   // whether it is held
}

// Holder looks who holds the lock of root, without taking it. Only Linux and Windows tell.
func Holder(root string) Holding {
	held, known := fsys.Holder(root)
	if held == nil {
		return Holding{Known: known}
	}
	return Holding{By: held.Error(), Known: known}
}

// enter is Lock for Run, which may follow.
func (c *Collector) enter() (role string, release func(), err error) {
	if c.dryRun {
		c.reportRole("")
		return "", func() {}, nil
	}
	got, release, err := c.lock.take(c.root, true)
	if err == nil {
		c.reportRole(got)
	}
	return string(got), release, err
}

func (c *Collector) reportRole(role Role) {
	if c.onRole != nil {
		c.onRole(role)
	}
}

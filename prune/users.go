package prune

import (
	"errors"
	"sync"
	"time"

	"runtimegc/prune/internal/fsys"
	"runtimegc/prune/internal/proc"
)

// A look is what one look for users has found. It costs a pass over the process table, so the
// removals of a pass share it.
type look struct {
	users     proc.Users
	usersAt   time.Time     // when they were looked for
	usersTook time.Duration // how long that took
	position  fsys.Position // of the root, all the while
	nth       int           // look of the pass
}

// usersOutdated reports whether to look for users once more: a pass that removes thousands
// of dirs takes its time, and processes come. It takes a tenth of that time at most.
func (l *look) usersOutdated() bool {
	return time.Since(l.usersAt) > max(time.Second, 10*l.usersTook)
}

// A passLook is the last look of a pass, for the removers that work side by side. What they
// change in the root would be taken for a move of the root by one that looks, so that is
// done under the lock for reading, and a look under that for writing.
type passLook struct {
	sync.RWMutex
	last look
}

// findUsers looks for users. After an error nothing is known, so the next dir must try again.
// The error is fsys.ErrReplaced if the root is moved each time.
func (m *remover) findUsers() error {
	m.shared.Lock()
	defer m.shared.Unlock()
	return m.tryToFindUsers()
}

// renewUsers does the same, unless another remover of the pass has done it meanwhile.
func (m *remover) renewUsers() error {
	m.shared.Lock()
	defer m.shared.Unlock()
	if last := m.shared.last; last.nth > m.nth && !last.usersOutdated() {
		m.look = last
		return nil
	}
	return m.tryToFindUsers()
}

func (m *remover) tryToFindUsers() (err error) {
	for try := range 5 {
		if try > 0 {
			time.Sleep(2 * fsys.Tick) // so that the time stamps of the move are older than this look
		}
		if err = m.lookForUsers(); !errors.Is(err, fsys.ErrReplaced) {
			break
		}
	}
	return err
}

// lookForUsers looks once. The kernel names what a process uses by its path of that moment,
// so the root must not be moved meanwhile, not even away and back.
func (m *remover) lookForUsers() error {
	began := time.Now()
	position, err := m.root.Position()
	if err != nil {
		return err
	}
	m.step("looking for users")
	users, err := proc.FindUsers(m.root.RealPath())
	if err != nil {
		return errors.New(err.Error()) // without its cause: a missing /proc is no missing dir
	}
	m.step("looked for users")
	if err := m.root.Stayed(position); err != nil {
		return err
	}
	now := time.Now()
	m.look = look{users: users, usersAt: now, usersTook: now.Sub(began), position: position, nth: m.shared.last.nth + 1}
	m.shared.last = m.look
	return nil
}

// rename renames an entry of the root.
func (m *remover) rename(from, to string) error {
	m.shared.RLock()
	defer m.shared.RUnlock()
	return m.root.Rename(from, to)
}

// rmdir removes an empty dir.
func (m *remover) rmdir(name string) error {
	m.shared.RLock()
	defer m.shared.RUnlock()
	return m.root.Remove(name)
}

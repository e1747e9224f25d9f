//go:build (darwin || freebsd) && !portable

package proc

import (
	"fmt"

	"golang.org/x/sys/unix"

	"runtimegc/registry/daemondir"
)

// descriptorsPerDaemon is how many descriptors a live daemon takes: its handle, and what
// fsnotify has open of its directory, which is that and each file in it.
const descriptorsPerDaemon = 5

// openHandle returns a handle on the process that has that pid now, if it has one: a kqueue of
// its own that holds an EVFILT_PROC event of that process, not of the pid (kqueue(2)). When the
// process exits, the kqueue has something to be read, and nobody ever reads it.
func openHandle(pid uint32) Handle {
	exit := unix.Kevent_t{Fflags: unix.NOTE_EXIT}
	unix.SetKevent(&exit, int(pid), unix.EVFILT_PROC, unix.EV_ADD)
	kq, err := newKqueue(exit)
	if err != nil { // such as ESRCH
		return NoHandle
	}
	return Handle(kq)
}

// newKqueue returns a kqueue that holds that event.
func newKqueue(event unix.Kevent_t) (int, error) {
	kq, err := unix.Kqueue()
	if err != nil {
		return -1, fmt.Errorf("making a kqueue: %w", err)
	}
	unix.CloseOnExec(kq)
	// With no room for events, this does not wait.
	if _, err := unix.Kevent(kq, []unix.Kevent_t{event}, nil, nil); err != nil {
		unix.Close(kq)
		return -1, fmt.Errorf("adding to a kqueue: %w", err)
	}
	return kq, nil
}

// Exited says whether the process has exited. It cannot tell whether that is a zombie.
func (h Handle) Exited() (exited, zombie bool) {
	if h == NoHandle {
		return false, false
	}
	fds := []unix.PollFd{{Fd: int32(h), Events: unix.POLLIN}}
	n, err := daemondir.IgnoringEINTR(func() (int, error) { return unix.Poll(fds, 0) })
	return err == nil && n == 1 && fds[0].Revents&unix.POLLIN != 0, false
}

// Close lets go of the process.
func (h Handle) Close() {
	if h != NoHandle {
		unix.Close(int(h))
	}
}

// A waiter is one kqueue over those of the handles, waited for by one thread.
type waiter struct {
	kq     int
	events [64]unix.Kevent_t
	exited [64]Handle
}

// newWaiter returns a waiter that waits for nothing yet.
func newWaiter() (*waiter, error) {
	var wake unix.Kevent_t // for close
	unix.SetKevent(&wake, 0, unix.EVFILT_USER, unix.EV_ADD|unix.EV_CLEAR)
	kq, err := newKqueue(wake)
	if err != nil {
		return nil, err
	}
	budget.open(1)
	return &waiter{kq: kq}, nil
}

// add has wait return h, once, when its process has exited. It reports false if the budget of
// this process has no room for it.
func (w *waiter) add(h Handle) bool {
	if !budget.take() {
		return false
	}
	var readable unix.Kevent_t
	unix.SetKevent(&readable, int(h), unix.EVFILT_READ, unix.EV_ADD|unix.EV_ONESHOT)
	_, err := unix.Kevent(w.kq, []unix.Kevent_t{readable}, nil, nil)
	if err != nil {
		budget.give()
	}
	return err == nil
}

// remove gives back the room of h; the kernel forgets it when it is closed.
func (w *waiter) remove(Handle) { budget.give() }

func (w *waiter) hasRoom() bool { return budget.hasRoom() }

// wait returns which processes have exited, until the next call. It waits for one, or returns
// false after close.
func (w *waiter) wait() ([]Handle, bool) {
	n, err := daemondir.IgnoringEINTR(func() (int, error) { return unix.Kevent(w.kq, nil, w.events[:], nil) })
	if err != nil {
		return nil, false
	}
	for i, event := range w.events[:n] {
		if event.Filter == unix.EVFILT_USER {
			unix.Close(w.kq) // here, so that nobody waits for another file of that number
			return nil, false
		}
		w.exited[i] = Handle(event.Ident)
	}
	return w.exited[:n], true
}

func (w *waiter) close() {
	budget.open(-1)
	wake := unix.Kevent_t{Fflags: unix.NOTE_TRIGGER}
	unix.SetKevent(&wake, 0, unix.EVFILT_USER, 0)
	_, _ = unix.Kevent(w.kq, []unix.Kevent_t{wake}, nil, nil)
}

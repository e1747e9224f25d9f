//go:build !portable

package proc

import (
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	kernel32                    = windows.NewLazySystemDLL("kernel32.dll")
	registerWaitForSingleObject = kernel32.NewProc("RegisterWaitForSingleObject")
	unregisterWaitEx            = kernel32.NewProc("UnregisterWaitEx")
)

// Flags of RegisterWaitForSingleObject, from winnt.h. The callback only takes a note, so the
// thread that waits can do it.
const (
	wtExecuteInWaitThread = 0x4
	wtExecuteOnlyOnce     = 0x8
)

// A waiter has Windows' thread pool wait for the handles: one of its threads for many (63, or
// more since Windows 8).
type waiter struct {
	ready chan struct{} // one slot: there is something in exited
	done  chan struct{}

	mu     sync.Mutex // guards all below
	exited []Handle
	waits  map[Handle]registeredWait
}

type registeredWait struct {
	id    uintptr // in waits
	pools windows.Handle
}

// newWaiter returns a waiter that waits for nothing yet.
func newWaiter() (*waiter, error) {
	for _, p := range []*windows.LazyProc{registerWaitForSingleObject, unregisterWaitEx} {
		if err := p.Find(); err != nil {
			return nil, err
		}
	}
	return &waiter{
		ready: make(chan struct{}, 1),
		done:  make(chan struct{}),
		waits: make(map[Handle]registeredWait),
	}, nil
}

// add has wait return h, once, when its process has exited. It reports false if the system
// cannot wait for more.
func (w *waiter) add(h Handle) bool {
	id := waits.add(func() { w.note(h) })
	var pools windows.Handle
	ok, _, _ := registerWaitForSingleObject.Call(uintptr(unsafe.Pointer(&pools)), uintptr(h),
		noteExit(), id, windows.INFINITE, wtExecuteInWaitThread|wtExecuteOnlyOnce)
	if ok == 0 {
		waits.remove(id)
		return false
	}
	w.mu.Lock()
	w.waits[h] = registeredWait{id: id, pools: pools}
	w.mu.Unlock()
	return true
}

// note takes note that the process behind h has exited.
func (w *waiter) note(h Handle) {
	w.mu.Lock()
	w.exited = append(w.exited, h)
	w.mu.Unlock()
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// remove ends the wait for h. Microsoft's documentation of RegisterWaitForSingleObject: to
// close a handle that is waited for is undefined. When this returns, no callback runs, and wait
// does not return h: the system gives its number to the next handle.
func (w *waiter) remove(h Handle) {
	w.mu.Lock()
	wait := w.waits[h]
	delete(w.waits, h)
	w.mu.Unlock() // a callback may want it
	_, _, _ = unregisterWaitEx.Call(uintptr(wait.pools), uintptr(windows.InvalidHandle))
	waits.remove(wait.id)
	w.mu.Lock()
	w.exited = slices.DeleteFunc(w.exited, func(exited Handle) bool { return exited == h })
	w.mu.Unlock()
}

// hasRoom returns true: a process may have millions of handles.
func (w *waiter) hasRoom() bool { return true }

// wait returns which processes have exited. It waits for one, or returns false after close.
func (w *waiter) wait() ([]Handle, bool) {
	select {
	case <-w.ready:
	case <-w.done:
		return nil, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	exited := w.exited
	w.exited = nil
	return exited, true
}

func (w *waiter) close() { close(w.done) }

// waits are the functions to be called back, by a number: Windows cannot hold a Go pointer.
var waits callbacks

type callbacks struct {
	mu   sync.Mutex // guards all below
	last uintptr
	by   map[uintptr]func()
}

func (c *callbacks) add(f func()) uintptr {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = make(map[uintptr]func())
	}
	c.last++
	c.by[c.last] = f
	return c.last
}

func (c *callbacks) remove(id uintptr) {
	c.mu.Lock()
	delete(c.by, id)
	c.mu.Unlock()
}

// noteExit returns the callback of all waits. There is only one, because Go never frees any.
var noteExit = sync.OnceValue(func() uintptr {
	return windows.NewCallback(func(id, _ uintptr) uintptr {
		waits.mu.Lock()
		f := waits.by[id]
		waits.mu.Unlock()
		if f != nil {
			f()
		}
		return 0
	})
})
